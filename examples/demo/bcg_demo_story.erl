%%% @doc The story of the demo, step by step. A step pushes a commit, waits until bc_gitops reports
%%% how that ended, prints what happened, and makes claims: pairs of what must be and what is. One
%%% claim that does not hold ends the story.
-module(bcg_demo_story).

-include_lib("bc_gitops/include/bc_gitops.hrl").

-export([tell/2]).

-import(bcg_demo_steps, [claim/4, push_version/4, push/3, await_status/2, observe/2, lost_nothing/4,
                         failed/2, servers/1, versions_in/1, by_total/1, is_each_once/1, distinct/1, affected/5,
                         refusal/4, row/4, expected/3, last_in_history/1, is_logged/2, now_us/0, ms/1]).

-define(APPS, [beacon, tally, greeter]).
%% What the specification of lantern has where the demo's own go.
-define(ARCHIVE_URL, <<"https://downloads.example.org/lantern-1.0.0.tar.gz">>).
-define(ARCHIVE_SHA256, binary:copy(<<"0">>, 64)).

%% @doc Tells the story. The claim named WrongClaim is given a wrong expectation, which a test uses
%% to see the demo fail.
-spec tell(bcg_demo_world:world(), string()) -> map().
tell(World, WrongClaim) ->
    State = #{
        world => World, start => now_us(), clients => #{}, earlier_calls => 0, wrong => WrongClaim
    },
    Back = fun bcg_demo_steps:take_back/1,
    Steps = [
        fun deploy_three/1, fun change_environment/1, fun upgrade/1, fun break_specification/1, Back,
        fun fail_to_build/1, Back, fun fail_to_start/1, Back,
        fun bcg_demo_hot:upgrade/1, fun bcg_demo_hot:fail_in_code_change/1, Back,
        fun deploy_from_elsewhere/1, fun remove_one/1, fun look_back/1
    ],
    tell(Steps, State, []).

tell([], #{start := Start, wrong := Wrong} = State, Claims) ->
    Wrong =:= "" orelse throw({demo, ["no claim is named ", Wrong]}),
    #{broken => [], held => length(Claims), took => ms(now_us() - Start), calls => calls(State)};
tell([Step | Steps], State, Told) ->
    {Claims, NewState} = Step(State),
    Judged = [judge(Claim, State) || Claim <- Claims],
    bcg_demo_screen:claims(Judged),
    case [Claim || #{holds := false} = Claim <- Judged] of
        [] -> tell(Steps, NewState, Judged ++ Told);
        Broken -> #{broken => Broken}
    end.

judge(#{id := Id, expected := Expected, actual := Actual} = Claim, #{wrong := Wrong}) ->
    Tested =
        case atom_to_list(Id) of
            Wrong -> {wrong_on_purpose, Expected};
            _ -> Expected
        end,
    Claim#{expected := Tested, holds => Tested =:= Actual}.

%% The steps

deploy_three(#{world := World} = State) ->
    Message = "Three applications: an Erlang term, a YAML and a JSON specification",
    {Pushed, Commit} = push(State, Message, fun() ->
        bcg_demo_world:specify(World, Message, [{App, []} || App <- ?APPS])
    end),
    Status = await_status(Commit, [synced]),
    Deployed = bcg_demo_events:since(Pushed, ?TELEMETRY_DEPLOY_STOP, any),
    lists:foreach(
        fun({At, #{app := App}}) ->
            row(State, Pushed, At, #{what => how_built(App), app => App, to => "1.0.0"})
        end,
        Deployed
    ),
    Claims = [
        claim(deploy_order, "each started after what it depends on", ?APPS,
              [App || {_, #{app := App}} <- Deployed]),
        claim(deploy_versions, "OTP runs what the specifications name",
              [{App, "1.0.0"} || App <- ?APPS], bcg_demo_node:versions(?APPS)),
        claim(deploy_code, "the modules of beacon and tally are those of the tag v1.0.0, by MD5",
              [expected(State, beacon, "1.0.0"), expected(State, tally, "1.0.0")],
              [bcg_demo_node:code(beacon), bcg_demo_node:code(tally)]),
        claim(deploy_place, "all code comes from the store of bc_gitops, none is stale",
              {[], []}, origin(State, ?APPS)),
        claim(deploy_answers, "greeter answers, and beacon had its environment when tally started",
              {<<"Hello, Ada!">>, 101}, {'Elixir.Greeter':hello(<<"Ada">>), beacon:ticket()}),
        claim(deploy_status, "bc_gitops reports the same: 3 applications, 3 healthy",
              {3, 3}, {maps:get(app_count, Status), maps:get(healthy_count, Status)})
    ],
    {Claims, start_clients(State)}.

change_environment(#{world := World} = State) ->
    Message = "Count in steps of five",
    {Pushed, Commit} = push(State, Message, fun() ->
        bcg_demo_world:specify(World, Message, [{tally, [{<<"step => 1">>, <<"step => 5">>}]}])
    end),
    _ = await_status(Commit, [synced]),
    Seen = observe(State, Pushed),
    affected(State, Pushed, Seen, ?TELEMETRY_RECONFIGURE_STOP,
             #{what => "environment changed", from => "step 1", to => "step 5"}),
    #{tally := #{answers := Unsorted}} = Seen,
    Answers = by_total(Unsorted),
    Claims = [
        claim(environment_arrived, "tally counts in steps of one, then of five", [1, 5],
              distinct([Step || #{step := Step} <- Answers])),
        claim(environment_kept_process, "by the same process, which kept its total: no restart",
              {1, true}, {length(servers(Answers)), is_each_once(Answers)}),
        lost_nothing(environment_calls, "no call of any application failed", ?APPS, Seen)
    ],
    {Claims, State}.

upgrade(#{world := World} = State) ->
    ok = bcg_demo_world:release(World, tally, "1.0.0", "1.1.0"),
    {Pushed, Commit} = push_version(State, "Upgrade tally", "1.0.0", "1.1.0"),
    _ = await_status(Commit, [synced]),
    Seen = observe(State, Pushed),
    affected(State, Pushed, Seen, ?TELEMETRY_UPGRADE_STOP,
             #{what => "upgraded by a restart", from => "1.0.0", to => "1.1.0"}),
    #{tally := #{answers := Answers}} = Seen,
    Claims = [
        claim(upgrade_version, "OTP runs tally 1.1.0",
              [{tally, "1.1.0"}], bcg_demo_node:versions([tally])),
        claim(upgrade_code, "its modules are exactly those of the tag: one came, one is gone",
              expected(State, tally, "1.1.0"), bcg_demo_node:code(tally)),
        claim(upgrade_answers, "1.0.0 answered while 1.1.0 was built; since then only 1.1.0",
              [<<"1.0.0">>, <<"1.1.0">>], distinct(versions_in(Answers))),
        claim(upgrade_gap, "the gap is its own stop and start: no call failed before it was built",
              [], failed_before_built(Pushed, Seen)),
        lost_nothing(upgrade_others, "beacon and greeter lost no call", [beacon, greeter], Seen),
        claim(upgrade_because, "and why: restart, because the version changed and nobody asked for hot",
              {restart, [<<"the version of tally changed from 1.0.0 to 1.1.0">>]}, bcg_demo_hot:how(tally)),
        claim(upgrade_history, "its history tells of it, and that it took time",
              {upgrade, <<"1.0.0">>, <<"1.1.0">>, ok, true}, last_in_history(tally))
    ],
    {Claims, State}.

break_specification(#{world := World} = State) ->
    Message = "A specification that does not parse",
    {Pushed, Commit} = push(State, Message, fun() ->
        bcg_demo_world:break_spec(World, Message, tally)
    end),
    Status = await_status(Commit, [degraded]),
    Seen = observe(State, Pushed),
    refusal(State, Pushed, Seen, #{what => "refused, 1.1.0 stays", to => "?"}),
    Unharmed = unharmed(State, spec, Seen),
    Named = claim(spec_named, "the status names the file and the line", true, names_line(Status)),
    {[Named | Unharmed], State}.

fail_to_build(#{world := World} = State) ->
    ok = bcg_demo_world:release(World, tally, "1.1.0", "1.2.0"),
    {Pushed, Commit} = push_version(State, "A version that does not compile", "1.1.0", "1.2.0"),
    _ = await_status(Commit, [degraded]),
    Seen = observe(State, Pushed),
    refusal(State, Pushed, Seen, #{what => "not built, 1.1.0 stays", to => "1.2.0"}),
    {ok, Log} = bc_gitops:build_log(tally),
    Told = claim(build_log, "the build's output says why: variable 'Totl' is unbound", true,
                 binary:match(Log, <<"Totl">>) =/= nomatch),
    {[Told | unharmed(State, build, Seen)], State}.

fail_to_start(#{world := World} = State) ->
    ok = bcg_demo_world:release(World, tally, "1.2.0", "1.3.0"),
    Message = "A version that builds and does not start",
    {Pushed, Commit} = push_version(State, Message, "1.1.0", "1.3.0"),
    _ = await_status(Commit, [degraded]),
    Seen = observe(State, Pushed),
    affected(State, Pushed, Seen, ?TELEMETRY_UPGRADE_STOP,
             #{what => "not started, 1.1.0 is back", from => "1.1.0", to => "1.3.0", mood => bad}),
    #{tally := #{answers := Answers}} = Seen,
    Claims = [
        claim(rollback_version, "OTP runs tally 1.1.0 again, and nobody helped", [{tally, "1.1.0"}],
              bcg_demo_node:versions([tally])),
        claim(rollback_code, "its modules are exactly those of the tag v1.1.0",
              expected(State, tally, "1.1.0"), bcg_demo_node:code(tally)),
        claim(rollback_answers, "every answer came from 1.1.0, before and after",
              {[<<"1.1.0">>], 2}, {distinct(versions_in(Answers)), length(servers(Answers))}),
        claim(rollback_gap, "no call failed before the new version was built",
              [], failed_before_built(Pushed, Seen)),
        lost_nothing(rollback_others, "beacon and greeter lost no call", [beacon, greeter], Seen),
        claim(rollback_log, "the log says which application, at which commit, and why", true,
              is_logged(State, [binary:part(Commit, 0, 7), " tally: ", "missing_setting"]))
    ],
    {Claims, State}.

deploy_from_elsewhere(#{world := #{goods := Goods} = World} = State) ->
    #{archive_url := Url, archive_sha256 := Digest} = Goods,
    Message = "A Hex package and the archive of a release",
    {Pushed, Commit} = push(State, Message, fun() ->
        bcg_demo_world:specify(World, Message, [
            {abacus, []}, {lantern, [{?ARCHIVE_URL, Url}, {?ARCHIVE_SHA256, Digest}]}
        ])
    end),
    _ = await_status(Commit, [synced]),
    Seen = observe(State, Pushed),
    lists:foreach(
        fun({At, #{app := App}}) ->
            row(State, Pushed, At, #{what => how_built(App), app => App, to => "1.0.0"})
        end,
        bcg_demo_events:since(Pushed, ?TELEMETRY_DEPLOY_STOP, any)
    ),
    Apps = [abacus, beads, lantern],
    Claims = [
        claim(elsewhere_versions, "abacus and the package that it needs run, and lantern does",
              [{App, "1.0.0"} || App <- Apps], bcg_demo_node:versions(Apps)),
        claim(elsewhere_code, "their modules are those of the published sources, by MD5",
              [expected_elsewhere(State, App) || App <- Apps],
              [bcg_demo_node:code(App) || App <- Apps]),
        claim(elsewhere_place, "all code comes from the store of bc_gitops, none is stale",
              {[], []}, origin(State, Apps)),
        claim(elsewhere_answers, "abacus counts 40 and 2 on its beads, lantern shines",
              {[2, 4], 1}, begin _ = abacus:add(40), {abacus:add(2), lantern:shine()} end),
        claim(elsewhere_lock, "the packages that were chosen are on record",
              [{<<"abacus">>, <<"1.0.0">>}, {<<"beads">>, <<"1.0.0">>}], chosen(abacus)),
        lost_nothing(elsewhere_others, "no call of any application failed", ?APPS, Seen)
    ],
    {Claims, State}.

%% Whoever calls a module that is gone has the code server look for it in the whole path: its client
%% goes first.
remove_one(#{world := World, clients := #{greeter := Client}} = Before) ->
    Message = "Greeter is no longer needed",
    #{greeter := #{calls := GreeterCalls}} = observe(Before, maps:get(start, Before)),
    ok = bcg_demo_client:stop(Client),
    #{clients := Clients} = Before,
    State = Before#{clients := maps:remove(greeter, Clients), earlier_calls := GreeterCalls},
    {Pushed, Commit} = push(State, Message, fun() ->
        bcg_demo_world:remove(World, Message, greeter)
    end),
    Status = await_status(Commit, [synced]),
    Seen = observe(State, Pushed),
    [{At, _} | _] = bcg_demo_events:since(Pushed, ?TELEMETRY_REMOVE_STOP, greeter),
    row(State, Pushed, At, #{what => "removed", app => greeter, from => "1.0.0"}),
    Claims = [
        claim(removed, "greeter does not run, has no module loaded and no place on the code path",
              {[], [], []},
              {bcg_demo_node:versions([greeter]), bcg_demo_node:code(greeter),
               bcg_demo_node:paths(greeter)}),
        claim(removed_status, "bc_gitops reports 4 applications", 4, maps:get(app_count, Status)),
        lost_nothing(removed_others, "beacon and tally lost no call", [beacon, tally], Seen)
    ],
    {Claims, State}.

look_back(#{calling_since := Start, clients := #{beacon := Beacon}} = State) ->
    Report = bcg_demo_client:report(Beacon, Start, now_us()),
    #{calls := Calls, failed := Failed, gap_ms := Gap} = Report,
    row(State, Start, now_us(), #{what => "all of it, as seen by", app => beacon, from => "1.0.0",
                                  to => "1.0.0", calls => Calls, failed => Failed, gap => Gap}),
    {[claim(whole_story, "beacon, which nobody touched, answered every call", 0, Failed)], State}.

%% Clients

start_clients(State) ->
    State#{calling_since => now_us(), clients := #{
        tally => bcg_demo_client:start(tally, 2, fun tally:hit/0),
        beacon => bcg_demo_client:start(beacon, 5, fun beacon:ticket/0),
        greeter => bcg_demo_client:start(greeter, 5, fun() -> 'Elixir.Greeter':hello(ada) end)
    }}.

calls(#{start := Start, earlier_calls := Earlier} = State) ->
    Earlier + lists:sum([Calls || #{calls := Calls} <- maps:values(observe(State, Start))]).

%% A bound in milliseconds would measure the machine.
failed_before_built(Pushed, #{tally := #{failed_at := Failed}}) ->
    [{Built, _}] = bcg_demo_events:since(Pushed, ?TELEMETRY_BUILD_STOP, tally),
    [Due - Built || Due <- Failed, Due < Built].

unharmed(State, Kind, Seen) ->
    #{tally := #{answers := Answers}} = Seen,
    [
        lost_nothing(step_id(Kind, "_calls"), "no call of any application failed", ?APPS, Seen),
        claim(step_id(Kind, "_running"), "tally 1.1.0 runs on, in the same process",
              {[{tally, "1.1.0"}], [<<"1.1.0">>], 1},
              {bcg_demo_node:versions([tally]), distinct(versions_in(Answers)),
               length(servers(Answers))}),
        claim(step_id(Kind, "_code"), "with exactly the modules of its tag",
              expected(State, tally, "1.1.0"), bcg_demo_node:code(tally))
    ].

step_id(Kind, Suffix) ->
    list_to_atom(atom_to_list(Kind) ++ Suffix).

%% What is printed

how_built(beacon) -> "deployed (erlang.mk, JSON)";
how_built(tally) -> "deployed (rebar3, Erlang)";
how_built(greeter) -> "deployed (mix, YAML)";
how_built(abacus) -> "deployed (Hex, YAML)";
how_built(lantern) -> "deployed (archive, JSON)".

%% The node

expected_elsewhere(#{world := #{dir := Dir} = World}, App) ->
    bcg_demo_node:expected_code(Dir, bcg_demo_shop:sources(World, App), {App, "1.0.0"}).

chosen(App) ->
    {ok, #app_state{details = #{lock := Lock}}} = bc_gitops:get_app_status(App),
    lists:sort([{Name, Version} || #{name := Name, version := Version} <- Lock]).

origin(#{world := World}, Apps) ->
    Code = lists:append([bcg_demo_node:code(App) || App <- Apps]),
    {bcg_demo_node:outside(Code, bcg_demo_world:workspace(World)), bcg_demo_node:stale_files(Code)}.

%% Where exactly the status keeps its errors is not the point here: that a reader finds the line is.
names_line(Status) ->
    Text = iolist_to_binary(io_lib:format("~tp", [Status])),
    re:run(Text, "apps/tally/app\\.config:\\d+", [{capture, none}]) =:= match.

