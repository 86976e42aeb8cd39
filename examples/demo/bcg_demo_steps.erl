%%% @doc What the scenes of the demo are made of: pushing and waiting, claims about what clients saw and
%%% what the node says, and rows of the timeline.
-module(bcg_demo_steps).

-include_lib("bc_gitops/include/bc_gitops.hrl").

-export([claim/4, push_version/3, push_version/4, push/3, await_status/2, take_back/1]).
-export([observe/2, lost_nothing/4, failed/2, servers/1, versions_in/1, by_total/1, is_each_once/1, distinct/1]).
-export([affected/5, refusal/4, total/2, row/4]).
-export([expected/3, last_in_history/1, is_logged/2, now_us/0, ms/1]).

-define(APPS, [beacon, tally, greeter]).
-define(AFTERWARDS_US, 150000).

%% @doc A pair of what must be and what is.
-spec claim(atom(), string(), Expected :: term(), Actual :: term()) -> map().
claim(Id, Text, Expected, Actual) ->
    #{id => Id, text => Text, expected => Expected, actual => Actual}.

%% Pushing and waiting

%% @doc Pushes another version of tally; the time of the push, and the commit.
-spec push_version(map(), string(), From :: string(), To :: string()) -> {integer(), binary()}.
push_version(State, Message, From, To) ->
    push_version(State, Message, [{list_to_binary(From), list_to_binary(To)}]).

%% Edits of the specification of tally.
-spec push_version(map(), string(), [{binary(), binary()}]) -> {integer(), binary()}.
push_version(#{world := World} = State, Message, Edits) ->
    push(State, Message, fun() -> bcg_demo_world:specify(World, Message, [{tally, Edits}]) end).

%% The clock starts before the push: bc_gitops may be done before git's own program has ended.
-spec push(map(), string(), fun(() -> binary())) -> {integer(), binary()}.
push(#{start := Start, world := World}, Message, Change) ->
    Commit = Change(),
    Pushed = now_us(),
    ok = bcg_demo_world:push(World),
    bcg_demo_screen:pushed(ms(Pushed - Start), Commit, Message),
    {Pushed, Commit}.

%% @doc Waits for one of these states of the whole at a commit.
-spec await_status(binary(), [atom()]) -> map().
await_status(Commit, Wanted) ->
    What = io_lib:format("status ~p at commit ~s", [Wanted, binary:part(Commit, 0, 7)]),
    bcg_demo_events:await(What, fun() ->
        case bc_gitops:status() of
            {ok, #{last_commit := Commit, status := Status} = Map} ->
                case lists:member(Status, Wanted) of
                    true -> {done, Map};
                    false -> {not_yet, Map}
                end;
            Other ->
                {not_yet, Other}
        end
    end).

%% `git revert', as a person would; what runs is what is wanted again, so nothing may move.
-spec take_back(map()) -> {[map()], map()}.
take_back(#{world := World} = State) ->
    Before = {bcg_demo_node:versions(?APPS), servers_now()},
    Message = "Take it back: git revert",
    {Pushed, Commit} = push(State, Message, fun() -> bcg_demo_world:revert(World) end),
    _ = await_status(Commit, [synced]),
    Seen = observe(State, Pushed),
    row(State, Pushed, now_us(), total(Seen, #{what => "as wanted again"})),
    Now = {bcg_demo_node:versions(?APPS), servers_now()},
    Text = "the same processes run on, and no call failed",
    {[claim(revert, Text, {Before, 0}, {Now, failed(?APPS, Seen)})], State}.

servers_now() ->
    [whereis(Name) || Name <- [beacon, tally_server, 'Elixir.Greeter.Server']].

%% What clients saw

%% The clients go on for a while, so that what came after the change is seen as well.
-spec observe(map(), integer()) -> #{atom() => bcg_demo_client:report()}.
observe(#{clients := Clients}, From) ->
    To = now_us() + ?AFTERWARDS_US,
    maps:map(fun(_, Client) -> bcg_demo_client:report(Client, From, To) end, Clients).

-spec lost_nothing(atom(), string(), [atom()], map()) -> map().
lost_nothing(Id, Text, Apps, Seen) ->
    claim(Id, Text, 0, failed(Apps, Seen)).

-spec failed([atom()], map()) -> non_neg_integer().
failed(Apps, Seen) ->
    lists:sum([maps:get(failed, maps:get(App, Seen)) || App <- Apps]).

-spec servers([map()]) -> [pid()].
servers(Answers) -> distinct([Server || #{server := Server} <- Answers]).

-spec versions_in([map()]) -> [binary()].
versions_in(Answers) -> [Version || #{version := Version} <- Answers].

%% Callers note the time when they are scheduled: the server's own order is that of its totals.
-spec by_total([map()]) -> [map()].
by_total(Answers) ->
    lists:sort(fun(#{total := A}, #{total := B}) -> A =< B end, Answers).

-spec is_each_once([map()]) -> boolean().
is_each_once(Answers) ->
    Totals = [Total || #{total := Total} <- Answers],
    length(Totals) =:= length(lists:usort(Totals)).

%% Neighbours that are the same are told once: the history of a value.
-spec distinct([Term]) -> [Term].
distinct([A, A | Rest]) -> distinct([A | Rest]);
distinct([A | Rest]) -> [A | distinct(Rest)];
distinct([]) -> [].

%% What is printed

-spec affected(map(), integer(), map(), [atom()], map()) -> ok.
affected(State, Pushed, Seen, Event, Row) ->
    #{tally := #{calls := Calls, failed := Failed, gap_ms := Gap}} = Seen,
    [{At, _} | _] = bcg_demo_events:since(Pushed, Event, tally),
    row(State, Pushed, At, Row#{app => tally, calls => Calls, failed => Failed, gap => Gap}).

%% Nothing was touched, so the calls of all clients are shown.
-spec refusal(map(), integer(), map(), map()) -> ok.
refusal(State, Pushed, Seen, Row) ->
    row(State, Pushed, now_us(), total(Seen, Row#{app => tally, from => "1.1.0", mood => bad})).

-spec total(map(), map()) -> map().
total(Seen, Row) ->
    Reports = maps:values(Seen),
    Row#{
        calls => lists:sum([Calls || #{calls := Calls} <- Reports]),
        failed => failed(maps:keys(Seen), Seen),
        gap => lists:max([Gap || #{gap_ms := Gap} <- Reports])
    }.

%% @doc A line of the timeline.
-spec row(map(), Pushed :: integer(), At :: integer(), map()) -> ok.
row(#{start := Start}, Pushed, At, Row) ->
    Named =
        case Row of
            #{app := App} -> Row#{app := atom_to_list(App)};
            #{} -> Row
        end,
    bcg_demo_screen:row(Named#{at => ms(At - Start), took => ms(At - Pushed)}).

%% The node

%% @doc The code of a version as the demo compiles it.
-spec expected(map(), atom(), string()) -> list().
expected(#{world := #{dir := Dir} = World}, App, Version) ->
    Sources = bcg_demo_world:sources(World, App, Version),
    bcg_demo_node:expected_code(Dir, Sources, {App, Version}).

-spec last_in_history(atom()) -> tuple().
last_in_history(App) ->
    {ok, #app_state{details = #{history := [Last | _]}}} = bc_gitops:get_app_status(App),
    #{action := Action, from := From, to := To, result := Result, duration_ms := Took} = Last,
    {Action, From, To, Result, Took > 0}.

%% The log is what OTP's default handler writes, as in any node.
-spec is_logged(map(), [iodata()]) -> boolean().
is_logged(#{world := World}, Parts) ->
    _ = logger_std_h:filesync(default),
    Lines = binary:split(bcg_demo_world:log(World), <<"\n">>, [global]),
    HasAll = fun(Line) -> lists:all(fun(P) -> string:find(Line, P) =/= nomatch end, Parts) end,
    lists:any(HasAll, Lines).

-spec now_us() -> integer().
now_us() -> erlang:monotonic_time(microsecond).

-spec ms(integer()) -> float().
ms(Us) -> Us / 1000.
