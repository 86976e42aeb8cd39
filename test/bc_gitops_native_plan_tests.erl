%%% The plan as Erlang sees it: terms in, one map out. The rules themselves are tested in Rust.
-module(bc_gitops_native_plan_tests).
-include_lib("eunit/include/eunit.hrl").

-define(FP, <<0:256>>).

deploys_in_waves_test() ->
    Plan = plan([wanted(web, [store, kernel]), wanted(store, [])], [], #{host => [kernel]}),
    ?assertMatch(#{actions := [#{action := deploy, name := store, wave := 1, 'after' := [],
                                 reasons := [absent]},
                               #{action := deploy, name := web, wave := 2, 'after' := [store],
                                 reasons := [absent]}],
                   blocked := [], held := [], refused := none, unchanged := 0,
                   visited := #{nodes := 2, edges := 1}}, Plan).

nothing_changed_test() ->
    Plan = plan([wanted(a, [])], [runs(a, #{})], #{}),
    ?assertMatch(#{actions := [], unchanged := 1}, Plan).

differences_are_named_test() ->
    Reasons = fun(Changes) ->
        #{actions := [#{action := Action, reasons := R}]} =
            plan([wanted(a, [])], [runs(a, Changes)], #{}),
        {Action, R}
    end,
    Other = <<1:256>>,
    ?assertEqual({deploy, [stopped]}, Reasons(#{status => stopped})),
    ?assertEqual({upgrade, [{version, <<"0.9">>, <<"1.0">>}, environment]},
                 Reasons(#{version => <<"0.9">>, env => Other})),
    ?assertEqual({upgrade, [source]}, Reasons(#{source => Other})),
    ?assertEqual({upgrade, [moved]}, Reasons(#{notes => [moved]})),
    ?assertEqual({reconfigure, [environment]}, Reasons(#{env => Other})),
    ?assertEqual({upgrade, [isolation]}, Reasons(#{isolation => vm})),
    ?assertEqual({upgrade, [drift]}, Reasons(#{notes => [drift]})),
    ?assertEqual({upgrade, [unhealthy]}, Reasons(#{notes => [unhealthy]})),
    ?assertEqual({reconfigure, [environment]},
                 Reasons(#{notes => [pinned, moved], env => Other, version => <<"9">>})).

what_is_unknown_differs_from_nothing_test() ->
    Unknown = #{version => undefined, source => undefined, env => undefined, dir => undefined},
    ?assertMatch(#{actions := [], unchanged := 1}, plan([wanted(a, [])], [runs(a, Unknown)], #{})).

obstacles_are_named_test() ->
    Second = setelement(2, wanted(twice, []), <<"apps/copy">>),
    #{actions := [], blocked := Blocked} =
        plan([wanted(x, [y]), wanted(y, [x]), wanted(own, [own]), wanted(lost, [nowhere]),
              wanted(user, [lost]), wanted(twice, []), Second], [], #{}),
    Reasons = maps:from_list([{N, R} || #{name := N, reason := R} <- Blocked]),
    ?assertEqual(#{own => {self_dependency}, lost => {missing_dependency, [nowhere]},
                   user => {blocked_dependency, lost},
                   twice => {duplicate, [<<"apps/twice">>, <<"apps/copy">>]}},
                 maps:without([x, y], Reasons)),
    {cycle, Cycle} = maps:get(x, Reasons),
    ?assertEqual([x, y], lists:sort(Cycle)).

orphans_are_removed_dependents_first_test() ->
    Current = [runs(a, #{}), runs(b, #{depends_on => [c]}), runs(c, #{})],
    #{actions := Actions} = plan([wanted(a, [])], Current, #{}),
    ?assertMatch([#{action := remove, name := b, wave := 1, reasons := [orphan]},
                  #{action := remove, name := c, wave := 2, 'after' := [b]}], Actions),
    ?assertMatch(#{actions := [], unchanged := 3},
                 plan([wanted(a, [])], Current, #{remove_orphans => false})).

all_at_once_is_refused_test() ->
    ?assertMatch(#{actions := [], refused := #{reason := all_orphans, names := [a, b]}},
                 plan([], [runs(a, #{}), runs(b, #{})], #{})),
    ?assertMatch(#{actions := [#{action := remove}], refused := none}, plan([], [runs(a, #{})], #{})).

broken_specs_hold_what_runs_test() ->
    Broken = [{<<"apps/by_dir">>, undefined}, {<<"apps/other">>, by_name},
              {<<"apps/basename">>, undefined}, {<<"apps/", 16#ff, "odd">>, undefined}],
    Current = [runs(app1, #{dir => <<"apps/by_dir">>}), runs(by_name, #{dir => <<"apps/old">>}),
               runs(basename, #{dir => <<"apps/old">>}), runs(unknown, #{dir => undefined}),
               runs(orphan, #{})],
    #{actions := Actions, held := Held} = plan([], Current, #{broken => Broken}),
    ?assertEqual([orphan], [N || #{name := N} <- Actions]),
    ?assertEqual([#{name => N, reason => broken_spec} || N <- [app1, by_name, basename, unknown]],
                 Held).

misuse_raises_test() ->
    [?assertError(badarg, bc_gitops_native:plan(D, C, O))
     || {D, C, O} <- [{not_a_list, [], #{}}, {[{a}], [], #{}}, {[], [runs(a, #{notes => [odd]})], #{}},
                      {[wanted(a, [])|tail], [], #{}}, {[], [], #{remove_orphans => maybe_so}},
                      {[setelement(6, wanted(a, []), elsewhere)], [], #{}}]].

%% Ten times the applications, ten times the work.
the_work_grows_with_the_number_of_applications_test() ->
    #{nodes := Nodes, edges := Edges} = visited(1000),
    #{nodes := Nodes10, edges := Edges10} = visited(10000),
    ?assert(Nodes10 =< 11 * Nodes),
    ?assert(Edges10 =< 11 * Edges).

visited(Count) ->
    Names = [list_to_atom("plan_app_" ++ integer_to_list(N)) || N <- lists:seq(1, Count)],
    maps:get(visited, plan([wanted(N, D) || {N, D} <- with_dependencies(Names)], [], #{})).

with_dependencies(Names) ->
    {Apps, _} = lists:mapfoldl(fun(N, Before) -> {{N, Before}, lists:sublist([N | Before], 2)} end,
                               [], Names),
    Apps.

plan(Desired, Current, Options) ->
    {ok, Plan} = bc_gitops_native:plan(Desired, Current, Options),
    Plan.

wanted(Name, DependsOn) ->
    {Name, dir(Name), <<"1.0">>, ?FP, ?FP, embedded, DependsOn}.

runs(Name, Changes) ->
    #{dir := Dir, status := Status, version := V, source := S, env := E, isolation := I,
      depends_on := D, notes := N} =
        maps:merge(#{dir => dir(Name), status => running, version => <<"1.0">>, source => ?FP,
                     env => ?FP, isolation => embedded, depends_on => [], notes => []}, Changes),
    {Name, Dir, Status, V, S, E, I, D, N}.

dir(Name) -> <<"apps/", (atom_to_binary(Name))/binary>>.
