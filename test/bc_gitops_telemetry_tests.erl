-module(bc_gitops_telemetry_tests).
-include_lib("eunit/include/eunit.hrl").

-export([send/4, fail/4]).

-define(EVENT, [bc_gitops, deploy, stop]).

own_handlers_test_() ->
    {foreach, fun start/0, fun stop/1,
     [fun handlers_get_their_events/0, fun one_handler_of_many_events/0,
      fun identifiers_are_unique/0, fun a_failing_handler_is_detached_and_logged/0,
      fun handlers_are_listed_by_prefix/0, fun misuse_raises/0]}.

handlers_get_their_events() ->
    ok = bc_gitops_telemetry:attach(mine, ?EVENT, fun ?MODULE:send/4, self()),
    ok = bc_gitops_telemetry:execute(?EVENT, #{duration => 1}, #{app => a}),
    ok = bc_gitops_telemetry:execute([bc_gitops, deploy, start], #{}, #{}),
    ok = bc_gitops_telemetry:execute([bc_gitops, deploy], #{}),
    ?assertEqual([{?EVENT, #{duration => 1}, #{app => a}}], received()),
    ok = bc_gitops_telemetry:detach(mine),
    ok = bc_gitops_telemetry:execute(?EVENT, #{}, #{}),
    ?assertEqual([], received()).

one_handler_of_many_events() ->
    Other = [bc_gitops, deploy, start],
    ok = bc_gitops_telemetry:attach_many(mine, [?EVENT, Other], fun ?MODULE:send/4, self()),
    [ok = bc_gitops_telemetry:execute(E, #{}) || E <- [Other, ?EVENT]],
    ?assertEqual([{Other, #{}, #{}}, {?EVENT, #{}, #{}}], received()).

identifiers_are_unique() ->
    ok = bc_gitops_telemetry:attach(mine, ?EVENT, fun ?MODULE:send/4, self()),
    ?assertEqual({error, already_exists},
                 bc_gitops_telemetry:attach(mine, [other], fun ?MODULE:send/4, self())),
    ?assertEqual(ok, bc_gitops_telemetry:detach(mine)),
    ?assertEqual({error, not_found}, bc_gitops_telemetry:detach(mine)).

a_failing_handler_is_detached_and_logged() ->
    ok = bc_gitops_telemetry:attach(bad, ?EVENT, fun ?MODULE:fail/4, "no secret in the log"),
    ok = bc_gitops_telemetry:attach(good, ?EVENT, fun ?MODULE:send/4, self()),
    ok = bc_gitops_telemetry:attach(watch, [telemetry, handler, failure], fun ?MODULE:send/4,
                                    self()),
    Log = bct_log:capture(fun() -> ok = bc_gitops_telemetry:execute(?EVENT, #{}, #{}) end),
    ?assertMatch([_], [L || L <- Log, string:find(L, "bad has failed") =/= nomatch]),
    ?assertEqual([], [L || L <- Log, string:find(L, "secret") =/= nomatch]),
    Received = received(),
    ?assertMatch([_], [x || {?EVENT, _, _} <- Received]),
    ?assertMatch([#{handler_id := bad, kind := error, reason := on_purpose}],
                 [M || {[telemetry, handler, failure], _, M} <- Received]),
    ?assertEqual([good], [Id || #{id := Id} <- bc_gitops_telemetry:list_handlers(?EVENT)]).

handlers_are_listed_by_prefix() ->
    Function = fun ?MODULE:send/4,
    ok = bc_gitops_telemetry:attach(mine, ?EVENT, Function, config),
    Handler = #{id => mine, event_name => ?EVENT, function => Function, config => config},
    [?assertEqual([Handler], bc_gitops_telemetry:list_handlers(P))
     || P <- [[], [bc_gitops], [bc_gitops, deploy], ?EVENT]],
    ?assertEqual([], bc_gitops_telemetry:list_handlers([bc_gitops, upgrade])).

misuse_raises() ->
    ?assertError(function_clause, bc_gitops_telemetry:execute([], #{}, #{})),
    ?assertError(function_clause, bc_gitops_telemetry:attach(x, ?EVENT, fun() -> ok end, c)).

without_the_owner_nothing_fails_test() ->
    ?assertEqual(undefined, whereis(bc_gitops_telemetry)),
    ?assertEqual(ok, bc_gitops_telemetry:execute(?EVENT, #{}, #{})),
    ?assertEqual([], bc_gitops_telemetry:list_handlers([])),
    ?assertEqual({error, not_found}, bc_gitops_telemetry:detach(x)),
    ?assertEqual({error, {not_started, #{application => bc_gitops}}},
                 bc_gitops_telemetry:attach(x, ?EVENT, fun ?MODULE:send/4, self())).

telemetry_where_it_runs_test_() ->
    {setup, fun() -> {start(), start_telemetry()} end,
     fun({Owner, Dir}) -> stop_telemetry(Dir), stop(Owner) end,
     [fun its_handlers_get_our_events/0, fun ours_are_its/0, fun older_handlers_stay/0]}.

its_handlers_get_our_events() ->
    ok = telemetry:attach(theirs, ?EVENT, fun ?MODULE:send/4, self()),
    ok = bc_gitops_telemetry:execute(?EVENT, #{duration => 2}, #{app => b}),
    ?assertEqual([{?EVENT, #{duration => 2}, #{app => b}}], received()),
    ?assertEqual({error, already_exists},
                 bc_gitops_telemetry:attach(theirs, ?EVENT, fun ?MODULE:send/4, self())),
    ?assertMatch([#{id := theirs}], bc_gitops_telemetry:list_handlers(?EVENT)),
    ?assertEqual(ok, bc_gitops_telemetry:detach(theirs)),
    ?assertEqual({error, not_found}, bc_gitops_telemetry:detach(theirs)).

ours_are_its() ->
    ok = bc_gitops_telemetry:attach_many(ours, [?EVENT], fun ?MODULE:send/4, self()),
    ok = telemetry:execute(?EVENT, #{}, #{}),
    ok = bc_gitops_telemetry:execute(?EVENT, #{}, #{}),
    ?assertMatch([_, _], received()),
    ?assertEqual(ok, telemetry:detach(ours)).

older_handlers_stay() ->
    ok = application:stop(telemetry),
    ok = bc_gitops_telemetry:attach(older, ?EVENT, fun ?MODULE:send/4, self()),
    ok = application:start(telemetry),
    ok = bc_gitops_telemetry:execute(?EVENT, #{}, #{}),
    ?assertMatch([_], received()),
    ?assertEqual({error, already_exists},
                 bc_gitops_telemetry:attach(older, ?EVENT, fun ?MODULE:send/4, self())),
    ?assertEqual(ok, bc_gitops_telemetry:detach(older)).

send(Event, Measurements, Metadata, To) when is_pid(To) ->
    To ! {event, Event, Measurements, Metadata}.

fail(_Event, _Measurements, _Metadata, _Config) ->
    error(on_purpose).

%% Handlers run in the calling process: what was sent is here.
received() ->
    receive {event, E, M, D} -> [{E, M, D} | received()] after 0 -> [] end.

start() ->
    [#{start := {M, F, A}}] = bc_gitops_telemetry:child_specs(),
    {ok, Pid} = apply(M, F, A),
    Pid.

stop(Pid) ->
    ok = gen_server:stop(Pid).

%% The real application where the code path has it, else the one in fixtures.
start_telemetry() ->
    case application:ensure_all_started(telemetry) of
        {ok, _} -> none;
        {error, _} -> start_fixture()
    end.

start_fixture() ->
    Dir = binary_to_list(bct_dir:make("telemetry")),
    Ebin = filename:join([Dir, "telemetry", "ebin"]),
    ok = filelib:ensure_path(Ebin),
    {ok, Forms} = epp:parse_file(bct_fixture:path("telemetry/telemetry.erl.txt"), []),
    {ok, telemetry, Beam} = compile:forms(Forms),
    ok = file:write_file(filename:join(Ebin, "telemetry.beam"), Beam),
    App = {application, telemetry,
           [{vsn, "1.3.0"}, {modules, [telemetry]}, {registered, [telemetry_sup]},
            {applications, [kernel, stdlib]}, {mod, {telemetry, []}}]},
    ok = file:write_file(filename:join(Ebin, "telemetry.app"), io_lib:format("~p.~n", [App])),
    true = code:add_pathz(Ebin),
    {ok, _} = application:ensure_all_started(telemetry),
    Dir.

stop_telemetry(none) ->
    ok = application:stop(telemetry);
stop_telemetry(Dir) ->
    ok = application:stop(telemetry),
    ok = application:unload(telemetry),
    true = code:del_path(filename:join([Dir, "telemetry", "ebin"])),
    _ = code:purge(telemetry),
    true = code:delete(telemetry),
    bct_dir:remove(Dir).
