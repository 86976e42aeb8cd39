%%% Plans of snapshots: what a commit says against what runs.
-module(bc_gitops_native_plan_snapshot_tests).
-include_lib("eunit/include/eunit.hrl").

a_commit_is_planned_test() ->
    with_commit(
        [{"apps/plan_web/app.config", spec("plan_web", "[plan_store]")},
         {"apps/plan_store/app.config", spec("plan_store", "[]")},
         {"apps/plan_api/app.config", spec("plan_api", "[plan_store]")}],
        fun(Snapshot) ->
            {ok, #{actions := Actions}} = bc_gitops_native:plan(Snapshot, [], #{}),
            ?assertMatch([#{action := deploy, name := plan_store, wave := 1},
                          #{name := _, wave := 2, 'after' := [plan_store]}, #{wave := 2}], Actions),
            ?assertEqual(lists:sort(bc_gitops_native:snapshot_names(Snapshot)),
                         lists:sort([N || #{name := N} <- Actions])),
            Current = [runs(N, Snapshot) || #{name := N} <- Actions],
            ?assertMatch({ok, #{actions := [], unchanged := 3}},
                         bc_gitops_native:plan(Snapshot, Current, #{}))
        end).

a_broken_spec_is_no_orphan_test() ->
    with_commit(
        [{"apps/plan_good/app.config", spec("plan_good", "[]")},
         {"apps/plan_typo/app.config", "#{name => plan_typo,"},
         {"apps/moved/app.config", "#{name => plan_named, version => 1.0}."}],
        fun(Snapshot) ->
            Row = fun(Name, Dir) ->
                {Name, Dir, running, <<"1.0">>, undefined, undefined, embedded, [], []}
            end,
            Current = [Row(plan_typo, <<"elsewhere">>), Row(plan_other, <<"plan_typo">>),
                       Row(plan_named, <<"plan_named">>), Row(plan_orphan, <<"plan_orphan">>)],
            {ok, #{actions := Actions, held := Held}} =
                bc_gitops_native:plan(Snapshot, Current, #{}),
            ?assertMatch([#{action := deploy, name := plan_good},
                          #{action := remove, name := plan_orphan}], Actions),
            ?assertEqual([plan_named, plan_other, plan_typo],
                         lists:sort([N || #{name := N, reason := broken_spec} <- Held]))
        end).

two_directories_with_one_name_are_refused_test() ->
    with_commit(
        [{"apps/a/app.config", spec("plan_twice", "[]")},
         {"apps/b/app.config", spec("plan_twice", "[]")},
         {"apps/plan_user/app.config", spec("plan_user", "[plan_twice]")}],
        fun(Snapshot) ->
            Runs = {plan_twice, <<"a">>, running, <<"1.0">>, undefined, undefined, embedded, [], []},
            {ok, #{actions := [], blocked := Blocked}} = bc_gitops_native:plan(Snapshot, [], #{}),
            ?assertEqual([{plan_twice, {duplicate, [<<"a">>, <<"b">>]}},
                          {plan_user, {blocked_dependency, plan_twice}}],
                         [{N, R} || #{name := N, reason := R} <- Blocked]),
            ?assertMatch({ok, #{actions := [#{action := deploy, name := plan_user}],
                                blocked := [#{name := plan_twice}], held := []}},
                         bc_gitops_native:plan(Snapshot, [Runs], #{}))
        end).

runs(Name, Snapshot) ->
    {ok, Spec, #{dir := Dir, source_fp := Source, env_fp := Env}} =
        bc_gitops_native:snapshot_spec(Snapshot, Name),
    {Name, Dir, running, element(3, Spec), Source, Env, embedded, [], []}.

spec(Name, DependsOn) ->
    ["#{name => ", Name, ", version => <<\"1.0\">>, depends_on => ", DependsOn, "}."].

with_commit(Files, Fun) ->
    bct_dir:with("plan", fun(Dir) ->
        Repo = bct_repo:init(Dir),
        Commit = iolist_to_binary(bct_repo:commit(Repo, [{unicode:characters_to_list(P), C}
                                                         || {P, C} <- Files])),
        Options = #{apps_dir => <<"apps">>, atom_room => 1000},
        {ok, Snapshot} = bc_gitops_native:snapshot_open(Dir, Commit, Options, undefined),
        Fun(Snapshot)
    end).
