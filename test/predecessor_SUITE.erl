%%% What 0.7 got wrong, each as a test that holds here; on real repositories, builds and applications.
-module(predecessor_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        an_upgrade_runs_the_new_code, a_failed_build_loses_no_app_and_no_call, one_bad_spec_stops_nobody,
        urls_refs_and_names_run_nothing, a_name_deletes_nothing_outside_the_workspace,
        a_changed_ref_at_the_same_version_is_a_change, a_moved_branch_at_the_same_version_is_a_change,
        a_removed_env_key_goes_back_to_its_default, a_key_of_env_that_no_code_knows_arrives,
        status_is_never_busy_while_a_build_runs, a_cycle_is_named, an_isolated_app_is_a_named_error,
        the_version_that_is_reported_is_the_one_that_runs, a_symlink_in_the_repository_reads_nothing,
        a_failure_is_one_line_that_says_all
    ].

init_per_testcase(Case, Config) ->
    [{context, bct_gitops:setup(atom_to_list(Case))} | Config].

%% What a case deployed must be gone before the next: they share this VM.
end_per_testcase(_Case, Config) ->
    Context = proplists:get_value(context, Config),
    case bc_gitops:get_current_state() of
        {ok, Apps} -> [bc_gitops:remove(Name) || Name <- maps:keys(Apps)];
        {error, _} -> ok
    end,
    bct_gitops:teardown(Context).

context(Config) -> proplists:get_value(context, Config).

start(Context) -> start(Context, #{}).

start(Context, More) ->
    bct_gitops:start(Context, More#{runtime_module => bc_gitops_runtime_default}).

an_upgrade_runs_the_new_code(Config) ->
    Context = context(Config),
    _ = source(Context, bcp_one, ["1.0.0", "1.1.0"]),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_one, "1.0.0")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertEqual("1.0.0", apply(bcp_one, version, [])),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_one, "1.1.0")]),
    ok = bc_gitops:reconcile(),
    ?assertEqual("1.1.0", apply(bcp_one, version, [])),
    ?assertEqual("1.1.0", gen_server:call(bcp_one, version)),
    ?assertEqual({ok, "1.1.0"}, application:get_key(bcp_one, vsn)),
    ?assertMatch({ok, #app_state{version = <<"1.1.0">>}}, bc_gitops:get_app_status(bcp_one)).

a_failed_build_loses_no_app_and_no_call(Config) ->
    Context = context(Config),
    Source = source(Context, bcp_two, ["1.0.0"]),
    _ = bct_repo:commit(Source, [{"src/bcp_two.erl", "this is no Erlang"} | app_file(bcp_two, "1.1.0")]),
    ok = bct_repo:tag(Source, "v1.1.0"),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_two, "1.0.0")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    Server = whereis(bcp_two),
    Client = client(bcp_two),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_two, "1.1.0")]),
    {error, {actions_failed, [#{app := bcp_two, reason := {build_failed, #{output := _}}}]}} = bc_gitops:reconcile(),
    {Calls, Failed} = results(Client),
    ?assert(Calls > 0),
    ?assertEqual(0, Failed),
    ?assertEqual(Server, whereis(bcp_two)),
    ?assertMatch(#{state := quarantined, running_version := <<"1.0.0">>, desired_version := <<"1.1.0">>},
                 bct_gitops:details(bcp_two)),
    {ok, Log} = bc_gitops:build_log(bcp_two),
    ?assertNotEqual(nomatch, string:find(Log, "bcp_two.erl")).

one_bad_spec_stops_nobody(Config) ->
    Context = context(Config),
    _ = source(Context, bcp_three, ["1.0.0"]),
    _ = source(Context, bcp_four, ["1.0.0"]),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_three, "1.0.0"), git_spec(Context, bcp_four, "1.0.0")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    Servers = {whereis(bcp_three), whereis(bcp_four)},
    _ = bct_gitops:push(Context, [{"apps/bcp_three/app.config", "#{name => "}]),
    {error, {actions_failed, [#{action := parse}]}} = bc_gitops:reconcile(),
    ?assertEqual(Servers, {whereis(bcp_three), whereis(bcp_four)}),
    ?assertMatch({ok, #{status := degraded, healthy_count := 2}}, bc_gitops:status()).

urls_refs_and_names_run_nothing(Config) ->
    #{dir := Dir} = Context = context(Config),
    Canary = filename:join(Dir, "canary"),
    Touch = <<"$(touch ", Canary/binary, ")">>,
    Hostile = [<<"; touch ", Canary/binary>>, Touch, <<"`touch ", Canary/binary, "`">>,
               <<"--upload-pack=touch ", Canary/binary>>, <<"ext::sh -c touch% ", Canary/binary>>],
    Specs = lists:append([
        [bct_gitops:spec(name(url, N), "1.0.0", #{source => #{type => git, url => Text, ref => <<"main">>}}),
         bct_gitops:spec(name(ref, N), "1.0.0", #{source => #{type => git, url => bct_repo:url(maps:get(repo, Context)), ref => Text}})]
     || {N, Text} <- lists:zip(lists:seq(1, length(Hostile)), Hostile)
    ]),
    Named = {"apps/hostile/app.json", [<<"{\"name\": \"x; touch ">>, Canary, <<"\", \"version\": \"1\"}">>]},
    _ = bct_gitops:push(Context, [Named | Specs]),
    _ = start(Context),
    {error, {actions_failed, Failures}} = bc_gitops:reconcile(),
    ?assert(length(Failures) >= length(Hostile)),
    ?assertNot(filelib:is_regular(Canary)),
    ?assertMatch({ok, #{healthy_count := 0}}, bc_gitops:status()).

name(Kind, N) -> list_to_atom(atom_to_list(Kind) ++ integer_to_list(N)).

a_name_deletes_nothing_outside_the_workspace(Config) ->
    #{dir := Dir} = Context = context(Config),
    Precious = filename:join(Dir, "precious"),
    ok = filelib:ensure_path(Precious),
    ok = file:write_file(filename:join(Precious, "file"), "x"),
    _ = bct_gitops:push(Context, [{"apps/x/app.json", "{\"name\": \"../precious\", \"version\": \"1\"}"}]),
    _ = start(Context),
    {error, _} = bc_gitops:reconcile(),
    ?assertMatch({error, _}, bc_gitops:deploy(#{name => '../precious', version => <<"1">>})),
    ?assertMatch({error, _}, bc_gitops:remove('../precious')),
    ?assert(filelib:is_regular(filename:join(Precious, "file"))).

a_changed_ref_at_the_same_version_is_a_change(Config) ->
    Context = context(Config),
    Source = source(Context, bcp_five, ["1.0.0"]),
    First = bct_repo:head(Source),
    Second = bct_repo:commit(Source, changed(bcp_five)),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_five, "1.0.0", #{ref => First})]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertEqual("1.0.0", apply(bcp_five, version, [])),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_five, "1.0.0", #{ref => Second})]),
    ok = bc_gitops:reconcile(),
    ?assertEqual("changed", apply(bcp_five, version, [])).

a_moved_branch_at_the_same_version_is_a_change(Config) ->
    Context = context(Config),
    Source = source(Context, bcp_six, ["1.0.0"]),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_six, "1.0.0", #{ref => <<"main">>})]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    Head = bct_repo:commit(Source, changed(bcp_six)),
    ok = bc_gitops:reconcile(),
    ?assertEqual("changed", apply(bcp_six, version, [])),
    ?assertMatch(#{revision := Head}, bct_gitops:details(bcp_six)).

a_removed_env_key_goes_back_to_its_default(Config) ->
    Context = context(Config),
    _ = source(Context, bcp_seven, ["1.0.0"]),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_seven, "1.0.0", #{}, #{colour => green, extra => 1})]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertEqual({{ok, green}, {ok, 1}}, {application:get_env(bcp_seven, colour), application:get_env(bcp_seven, extra)}),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_seven, "1.0.0", #{}, #{})]),
    ok = bc_gitops:reconcile(),
    ?assertEqual({{ok, red}, undefined}, {application:get_env(bcp_seven, colour), application:get_env(bcp_seven, extra)}).

a_key_of_env_that_no_code_knows_arrives(Config) ->
    Context = context(Config),
    _ = source(Context, bcp_eight, ["1.0.0"]),
    Key = "never_seen_" ++ integer_to_list(erlang:unique_integer([positive])),
    Url = bct_repo:url(filename:join(maps:get(dir, Context), "bcp_eight")),
    Spec = ["{\"name\": \"bcp_eight\", \"version\": \"1.0.0\", \"source\": {\"type\": \"git\", \"url\": \"", Url,
            "\", \"ref\": \"v1.0.0\"}, \"env\": {\"", Key, "\": 7}}"],
    _ = bct_gitops:push(Context, [{"apps/bcp_eight/app.json", Spec}]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertEqual({ok, 7}, application:get_env(bcp_eight, list_to_existing_atom(Key))).

status_is_never_busy_while_a_build_runs(Config) ->
    #{dir := Dir} = Context = context(Config),
    Source = bct_repo:init(filename:join(Dir, "bcp_nine")),
    Gate = filename:join(Dir, "gate"),
    [] = os:cmd("mkfifo " ++ binary_to_list(Gate)),
    Wait = "cat " ++ binary_to_list(Gate),
    _ = bct_repo:commit(Source, bct_app:erlang_mk("bcp_nine", "1.0.0", Wait)),
    ok = bct_repo:tag(Source, "v1.0.0"),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_nine, "1.0.0")]),
    _ = start(Context, #{build_timeout => 600000, build_sandbox => off}),
    Caller = spawn_monitor(fun() -> exit(bc_gitops:reconcile()) end),
    ok = bct_gitops:wait_state(bcp_nine, preparing),
    %% the build cannot end before it is told to, further down
    ?assertMatch({ok, #{status := out_of_sync}}, bc_gitops:status()),
    ?assertMatch({ok, _}, bc_gitops:get_current_state()),
    %% ends the build, its processes with it, and whoever waited
    ok = bc_gitops:stop_reconciler(),
    {Pid, Ref} = Caller,
    receive {'DOWN', Ref, process, Pid, Result} -> ?assertEqual({error, stopped}, Result) end.

a_cycle_is_named(Config) ->
    Context = context(Config),
    _ = bct_gitops:push(Context, [
        bct_gitops:spec(bcp_a, "1", #{depends_on => [bcp_b]}), bct_gitops:spec(bcp_b, "1", #{depends_on => [bcp_a]})
    ]),
    _ = start(Context),
    {error, {actions_failed, Failures}} = bc_gitops:reconcile(),
    ?assertMatch([#{app := bcp_a, reason := {blocked, {cycle, _}}}, #{app := bcp_b, reason := {blocked, {cycle, _}}}], Failures).

an_isolated_app_is_a_named_error(Config) ->
    Context = context(Config),
    _ = source(Context, bcp_ten, ["1.0.0"]),
    {Path, _} = git_spec(Context, bcp_ten, "1.0.0"),
    Url = bct_repo:url(filename:join(maps:get(dir, Context), "bcp_ten")),
    Spec = #{name => bcp_ten, version => <<"1.0.0">>, isolation => vm,
             source => #{type => git, url => Url, ref => <<"v1.0.0">>}},
    _ = bct_gitops:push(Context, [{Path, io_lib:format("~0tp.~n", [Spec])}]),
    _ = start(Context),
    {error, {actions_failed, [#{app := bcp_ten, reason := {not_supported_yet, _}}]}} = bc_gitops:reconcile(),
    ?assertMatch(#{state := quarantined}, bct_gitops:details(bcp_ten)).

the_version_that_is_reported_is_the_one_that_runs(Config) ->
    Context = context(Config),
    _ = source(Context, bcp_eleven, ["1.0.0"]),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_eleven, "9.9.9", #{ref => <<"v1.0.0">>})]),
    _ = start(Context),
    {error, {actions_failed, [#{reason := {version_mismatch, #{spec := <<"9.9.9">>, app := <<"1.0.0">>}}}]}} =
        bc_gitops:reconcile(),
    ?assertEqual(undefined, whereis(bcp_eleven)).

a_symlink_in_the_repository_reads_nothing(Config) ->
    #{repo := Repo, dir := Dir} = Context = context(Config),
    Secret = filename:join(Dir, "secret.config"),
    ok = file:write_file(Secret, "#{name => stolen, version => <<\"1\">>}.\n"),
    _ = bct_gitops:push(Context, [bct_gitops:spec(bcp_link, "1"), {"apps/stolen/.keep", ""}]),
    ok = file:make_symlink(Secret, filename:join([Repo, "apps", "stolen", "app.config"])),
    _ = bct_repo:commit(Repo, []),
    _ = start(Context),
    {error, _} = bc_gitops:reconcile(),
    {ok, Desired} = bc_gitops:get_desired_state(),
    ?assertNot(maps:is_key(stolen, Desired)).

%% A build that fails, a version that does not start, a spec that is broken: for each one line of warning or
%% error, which names the commit, the app, the versions and what runs now.
a_failure_is_one_line_that_says_all(Config) ->
    Context = context(Config),
    Source = source(Context, bcp_twelve, ["1.0.0"]),
    _ = bct_repo:commit(Source, [{"src/bcp_twelve.erl", "this is no Erlang"} | app_file(bcp_twelve, "1.1.0")]),
    ok = bct_repo:tag(Source, "v1.1.0"),
    Broken = string:replace(bct_app:server("bcp_twelve", "1.2.0"), "{ok, 0}", "error({no_disk, #{path => x}})"),
    _ = bct_repo:commit(Source, [{"src/bcp_twelve.erl", Broken} | app_file(bcp_twelve, "1.2.0")]),
    ok = bct_repo:tag(Source, "v1.2.0"),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_twelve, "1.0.0")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    Build = ["bcp_twelve: upgrade to 1.1.0 failed: its build failed: make", "; 1.0.0 runs; not tried again until"],
    one_line(Context, [git_spec(Context, bcp_twelve, "1.1.0")], Build),
    Start = ["bcp_twelve: upgrade to 1.2.0 failed: rolled back, 1.0.0 runs again (gap ", "no_disk: path = x in bcp_twelve:init/1",
             "; 1.0.0 runs; not tried again until"],
    one_line(Context, [git_spec(Context, bcp_twelve, "1.2.0")], Start),
    _ = bct_gitops:push(Context, [git_spec(Context, bcp_twelve, "1.0.0")]),
    ok = bc_gitops:reconcile(),
    one_line(Context, [{"apps/bcp_twelve/app.config", "#{name => bcp_twelve,\n  version => 1}."}],
             [": a spec is not good, what runs of it stays: apps/bcp_twelve/app.config:2:14: version: found"]),
    ?assertEqual("1.0.0", apply(bcp_twelve, version, [])).

one_line(Context, Files, Parts) ->
    <<Commit:7/binary, _/binary>> = bct_gitops:push(Context, Files),
    Lines = bct_log:capture(fun() ->
        {error, {actions_failed, [_]} = Reason} = bc_gitops:reconcile(),
        ?assertEqual(nomatch, string:find(bc_gitops:format_error(Reason), "{"))
    end),
    %% what OTP itself says of a start that crashed is not ours
    Ours = [Line || Line <- Lines, re:run(Line, "(warning|error): ") =/= nomatch,
                    string:find(Line, "bcp_twelve: ") =/= nomatch orelse string:find(Line, "a spec ") =/= nomatch],
    ct:pal("~ts", [lists:join("\n", Lines)]),
    ?assertMatch([_], Ours),
    Said = [Commit | Parts],
    ?assertEqual([], [Part || Part <- Said, string:find(hd(Ours), Part) =:= nomatch]),
    ?assertEqual(nomatch, string:find(hd(Ours), "{")).

%% helpers

source(#{dir := Dir}, Name, Versions) ->
    Repo = bct_repo:init(filename:join(Dir, atom_to_list(Name))),
    lists:foreach(
        fun(Version) ->
            _ = bct_repo:commit(Repo, bct_app:erlang_mk(atom_to_list(Name), Version)),
            ok = bct_repo:tag(Repo, "v" ++ Version)
        end,
        Versions
    ),
    Repo.

app_file(Name, Version) ->
    App = atom_to_list(Name),
    [{"src/" ++ App ++ ".app.src", bct_app:app_file(App, Version)}].

%% Other code, the same version in the .app file.
changed(Name) ->
    App = atom_to_list(Name),
    [{"src/" ++ App ++ ".erl", bct_app:server(App, "changed")}].

git_spec(Context, Name, Version) -> git_spec(Context, Name, Version, #{}).

git_spec(Context, Name, Version, Source) -> git_spec(Context, Name, Version, Source, #{}).

git_spec(#{dir := Dir}, Name, Version, Source, Env) ->
    Url = bct_repo:url(filename:join(Dir, atom_to_list(Name))),
    Git = #{type => git, url => Url, ref => list_to_binary("v" ++ Version)},
    bct_gitops:spec(Name, Version, #{source => maps:merge(Git, Source), env => Env}).

%% Calls a server again and again.
client(Server) ->
    spawn_link(fun() -> client(Server, 0, 0) end).

client(Server, Calls, Failed) ->
    receive
        {stop, From} -> From ! {self(), {Calls, Failed}}
    after 1 ->
        try gen_server:call(Server, version, infinity) of
            _ -> client(Server, Calls + 1, Failed)
        catch
            exit:_ -> client(Server, Calls + 1, Failed + 1)
        end
    end.

results(Client) ->
    Client ! {stop, self()},
    receive {Client, Results} -> Results end.
