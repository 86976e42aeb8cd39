%%% @doc The scenes in which code changes while it runs: a hot upgrade that no caller notices, and one
%%% whose code_change fails, which nobody notices either.
-module(bcg_demo_hot).

-include_lib("bc_gitops/include/bc_gitops.hrl").

-export([upgrade/1, fail_in_code_change/1, how/1]).

-import(bcg_demo_steps, [claim/4, push_version/3, push_version/4, await_status/2, observe/2, lost_nothing/4, servers/1,
                         versions_in/1, by_total/1, is_each_once/1, distinct/1, affected/5, expected/3,
                         is_logged/2]).

-define(APPS, [beacon, tally, greeter]).

%% @doc The server of tally gets a state of another shape, and keeps its total.
-spec upgrade(map()) -> {[map()], map()}.
upgrade(#{world := World} = State) ->
    ok = bcg_demo_world:release(World, tally, "1.3.0", "1.4.0"),
    Edits = [{<<"1.1.0">>, <<"1.4.0">>}, {<<"env =>">>, <<"upgrade => #{strategy => hot},\n    env =>">>}],
    {Pushed, Commit} = push_version(State, "Upgrade tally while it counts: strategy hot", Edits),
    _ = await_status(Commit, [synced]),
    Seen = observe(State, Pushed),
    affected(State, Pushed, Seen, ?TELEMETRY_UPGRADE_STOP,
             #{what => "upgraded hot", from => "1.1.0", to => "1.4.0"}),
    #{tally := #{answers := Unsorted}} = Seen,
    Answers = by_total(Unsorted),
    Claims = [
        claim(hot_version, "OTP runs tally 1.4.0", [{tally, "1.4.0"}], bcg_demo_node:versions([tally])),
        claim(hot_code, "its modules are exactly those of the tag", expected(State, tally, "1.4.0"),
              bcg_demo_node:code(tally)),
        claim(hot_answers, "1.1.0 answered, then 1.4.0: one process, which kept its total",
              {[<<"1.1.0">>, <<"1.4.0">>], 1, true},
              {distinct(versions_in(Answers)), length(servers(Answers)), is_each_once(Answers)}),
        claim(hot_state, "code_change gave its state the new shape", true, is_map(sys:get_state(tally_server))),
        lost_nothing(hot_calls, "no call of any application failed", ?APPS, Seen),
        claim(hot_how, "its history says how: hot", {hot, []}, how(tally))
    ],
    {Claims, State}.

%% @doc The next version cannot take over the state.
-spec fail_in_code_change(map()) -> {[map()], map()}.
fail_in_code_change(#{world := World} = State) ->
    ok = bcg_demo_world:release(World, tally, "1.4.0", "1.5.0"),
    {Pushed, Commit} = push_version(State, "A version whose code_change fails", "1.4.0", "1.5.0"),
    _ = await_status(Commit, [degraded]),
    Seen = observe(State, Pushed),
    affected(State, Pushed, Seen, ?TELEMETRY_UPGRADE_STOP,
             #{what => "undone, 1.4.0 runs on", from => "1.4.0", to => "1.5.0", mood => bad}),
    #{tally := #{answers := Unsorted}} = Seen,
    Answers = by_total(Unsorted),
    Claims = [
        lost_nothing(undone_calls, "no call of any application failed", ?APPS, Seen),
        claim(undone_running, "tally 1.4.0 runs on, in the same process, with its total",
              {[{tally, "1.4.0"}], <<"1.4.0">>, 1, true},
              {bcg_demo_node:versions([tally]), lists:last(versions_in(Answers)), length(servers(Answers)),
               is_each_once(Answers)}),
        claim(undone_code, "with exactly the modules of its tag", expected(State, tally, "1.4.0"),
              bcg_demo_node:code(tally)),
        claim(undone_log, "the log says which application, at which commit, and why", true,
              is_logged(State, [binary:part(Commit, 0, 7), " tally: ", "code_change of tally_server failed"]))
    ],
    {Claims, State}.

%% @doc How the last upgrade of an application was done, and why not otherwise.
-spec how(atom()) -> {hot | restart, Because :: [binary()]}.
how(App) ->
    {ok, #app_state{details = #{history := [#{upgraded := How} = Last | _]}}} = bc_gitops:get_app_status(App),
    {How, maps:get(because, Last, [])}.
