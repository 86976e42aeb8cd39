%%% @doc Measures one row: ours against what a user would otherwise use, in turns, so that whatever
%%% else the machine does meets both; the median of each counts.
-module(bench_rows).

-export([start/0, stop/1, row/1, add/1]).

-define(MIN_ROUNDS, 5).
-define(MAX_ROUNDS, 101).
%% A row goes on with more rounds until this time is over.
-define(ROW_MS, 2500).

start() ->
    put(?MODULE, []),
    ?MODULE.

stop(?MODULE) ->
    lists:reverse(erase(?MODULE)).

%% @doc `#{what, size, ours := fun(), theirs => {Name, fun()}, aim => {ms, N} | {times, N},
%% batch => N}': with `batch' one measurement is the mean of N calls.
row(#{ours := Ours} = Row) ->
    Batch = maps:get(batch, Row, 1),
    Funs = case Row of
        #{theirs := {_, Theirs}} -> [Ours, Theirs];
        _ -> [Ours]
    end,
    _ = [F() || F <- Funs],
    Samples = rounds([repeat(F, Batch) || F <- Funs], erlang:monotonic_time(millisecond) + ?ROW_MS, 0, []),
    Medians = [median(S) || S <- Samples],
    Result = maps:without([ours], Row),
    add(case Medians of
        [Mine, Other] ->
            #{theirs := {Name, _}} = Row,
            Result#{ours => Mine, theirs => {Name, Other}};
        [Mine] ->
            Result#{ours => Mine}
    end).

%% @doc A row whose figures (in ms) are known.
add(Row) ->
    Judged = Row#{met => met(Row)},
    put(?MODULE, [Judged | get(?MODULE)]),
    io:put_chars(bench_table:line(Judged)),
    Judged.

met(#{aim := none}) -> none;
met(#{aim := {ms, Most}, ours := Ours}) -> Ours =< Most;
met(#{aim := {times, Least}, ours := Ours, theirs := {_, Theirs}}) -> Theirs / Ours >= Least;
met(#{aim := {mib, Most}, mib := Mib}) -> Mib =< Most;
met(_) -> none.

repeat(Fun, Count) ->
    fun() ->
        {Time, _} = timer:tc(fun() -> call(Fun, Count) end),
        Time / Count / 1000
    end.

call(_Fun, 0) -> ok;
call(Fun, Count) -> _ = Fun(), call(Fun, Count - 1).

rounds(Funs, Deadline, Count, Rounds) ->
    Late = erlang:monotonic_time(millisecond) > Deadline,
    case (Late andalso Count >= ?MIN_ROUNDS) orelse Count >= ?MAX_ROUNDS of
        true -> transposed(Rounds);
        false -> rounds(Funs, Deadline, Count + 1, [[collected(F) || F <- Funs] | Rounds])
    end.

%% What others left behind is not measured.
collected(Fun) ->
    true = erlang:garbage_collect(),
    Fun().

transposed([[] | _]) -> [];
transposed(Rounds) -> [[hd(R) || R <- Rounds] | transposed([tl(R) || R <- Rounds])].

median(Samples) ->
    lists:nth((length(Samples) + 1) div 2, lists:sort(Samples)).
