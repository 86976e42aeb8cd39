%%% @doc A client of one application: it calls at fixed times, whatever became of earlier calls,
%%% and keeps each call with the time it was due, the time it ended and what came of it.
-module(bcg_demo_client).

-export([start/3, stop/1, report/3]).

-export_type([report/0]).

%% `gap_ms' is the longest time between two good answers; `answers' are the good ones in order;
%% `failed_at' is when the failed calls were due.
-type report() :: #{calls := non_neg_integer(), failed := non_neg_integer(), gap_ms := float(),
                    answers := [term()], failed_at := [integer()]}.

%% @doc Starts calling Fun every PeriodMs milliseconds.
-spec start(atom(), pos_integer(), fun(() -> term())) -> pid().
start(App, PeriodMs, Fun) ->
    spawn_link(fun() ->
        Table = ets:new(App, [ordered_set, private]),
        Start = erlang:monotonic_time(millisecond),
        clock(#{table => Table, start => Start, period => PeriodMs, next => 0, call => Fun,
                pending => #{}, askers => []})
    end).

%% @doc Ends a client; its calls so far are forgotten.
-spec stop(pid()) -> ok.
stop(Client) ->
    true = unlink(Client),
    true = exit(Client, kill),
    ok.

%% @doc What the calls that are due between two times (in microseconds) came to; waits until all of
%% them have been made and have ended.
-spec report(pid(), integer(), integer()) -> report().
report(Client, From, To) ->
    Ref = monitor(process, Client),
    Client ! {report, self(), Ref, From, To},
    receive
        {Ref, Report} -> demonitor(Ref, [flush]), Report;
        {'DOWN', Ref, process, Client, Reason} -> error({client_died, Reason})
    end.

clock(#{next := Next} = State) ->
    Due = next_due(State),
    receive
        {'DOWN', _, process, Pid, Result} ->
            clock(answer_askers(ended(Pid, Result, State)));
        {report, Asker, Ref, From, To} ->
            Askers = [{Asker, Ref, From, To} | maps:get(askers, State)],
            clock(answer_askers(State#{askers := Askers}))
    after max(0, Due div 1000 - erlang:monotonic_time(millisecond)) ->
        clock(answer_askers(call(Due, State#{next := Next + 1})))
    end.

next_due(#{start := Start, period := Period, next := Next}) ->
    (Start + Next * Period) * 1000.

%% The answer comes back as the reason of the caller's end: a caller that is killed says so too.
call(Due, #{call := Fun, pending := Pending} = State) ->
    {Pid, _} = spawn_monitor(fun() -> exit(attempt(Fun)) end),
    State#{pending := Pending#{Pid => Due}}.

attempt(Fun) ->
    try Fun() of
        Answer -> {answered, erlang:monotonic_time(microsecond), Answer}
    catch
        Class:Reason -> {failed, erlang:monotonic_time(microsecond), {Class, Reason}}
    end.

ended(Pid, Result, #{pending := Pending, table := Table} = State) ->
    {Due, Rest} = maps:take(Pid, Pending),
    Entry =
        case Result of
            {Kind, Done, What} when Kind =:= answered; Kind =:= failed -> {Kind, Done, What};
            Killed -> {failed, erlang:monotonic_time(microsecond), {exit, Killed}}
        end,
    true = ets:insert(Table, {{Due, Pid}, Entry}),
    State#{pending := Rest}.

answer_askers(#{askers := Askers, pending := Pending, table := Table} = State) ->
    Earliest = lists:min([next_due(State) | maps:values(Pending)]),
    {Ready, Waiting} = lists:partition(fun({_, _, _, To}) -> Earliest > To end, Askers),
    [Asker ! {Ref, summary(Table, From, To)} || {Asker, Ref, From, To} <- Ready],
    State#{askers := Waiting}.

summary(Table, From, To) ->
    Within = [{'>=', {element, 1, '$1'}, From}, {'=<', {element, 1, '$1'}, To}],
    Entries = ets:select(Table, [{{'$1', '$2'}, Within, [{{{element, 1, '$1'}, '$2'}}]}]),
    Good = lists:sort([{Done, Answer} || {_, {answered, Done, Answer}} <- Entries]),
    Times = [From] ++ [Done || {Done, _} <- Good] ++ [To],
    #{
        calls => length(Entries),
        failed => length(Entries) - length(Good),
        gap_ms => longest(Times, 0) / 1000,
        answers => [Answer || {_, Answer} <- Good],
        failed_at => [Due || {Due, {failed, _, _}} <- Entries]
    }.

longest([A, B | Rest], Longest) -> longest([B | Rest], max(Longest, B - A));
longest([_], Longest) -> Longest.
