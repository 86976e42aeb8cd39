%%% What a build cannot do: hostile applications of each build tool, with the sandbox and without it.
%%% Without it the same attacks reach nearly everything, which shows that they are real.
-module(sandbox_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-import(bct_workspace, [source/2, prepare/2]).

-define(KEYS, [build_sandbox, build_read, build_env, build_memory, build_disk, build_processes,
               git_known_hosts]).
-define(MIB, (1024 * 1024)).
-define(NOBODY, ["--reuid=65534", "--regid=65534", "--clear-groups"]).

suite() -> [{timetrap, {minutes, 10}}].

all() -> [{group, attacks}, {group, links}, {group, limits}, {group, network}, {group, modes}].

groups() ->
    [
        {attacks, [], [
            rebar3_hooks_reach_nothing, mix_projects_reach_nothing, makefiles_reach_nothing,
            what_is_shown_too_much_is_covered, without_the_sandbox_only_the_environment_is_safe,
            no_build_poisons_another, the_same_for_an_ordinary_user
        ]},
        {links, [], [
            links_between_commands_lead_nowhere, output_behind_a_link_is_refused,
            a_link_in_place_of_the_source_is_refused, any_tree_is_removed
        ]},
        {limits, [], [
            too_many_processes, too_much_memory, too_much_on_disk, temporary_files_count,
            too_much_output, daemons_end
        ]},
        {network, [], [dependencies_come_and_then_the_network_is_cut, an_agent_serves_dependencies]},
        {modes, [], [required_without_bubblewrap, auto_without_bubblewrap, said_once,
                     tools_in_a_home_are_found, an_app_may_have_any_name]}
    ].

init_per_group(attacks, Config) ->
    Dir = bct_dir:make("host"),
    [{host, bct_hostile:host(Dir)}, {host_dir, Dir} | Config];
init_per_group(_Group, Config) ->
    Config.

end_per_group(attacks, Config) ->
    bct_hostile:leave(?config(host, Config)),
    bct_dir:remove(?config(host_dir, Config));
end_per_group(_Group, _Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    ok = application:set_env(bc_gitops, build_sandbox, required),
    bct_workspace:start(Config).

end_per_testcase(_Case, Config) ->
    [application:unset_env(bc_gitops, Key) || Key <- ?KEYS],
    bct_workspace:stop(Config).

commit(Config, Files) -> bct_repo:commit(?config(repo, Config), Files).

log(Name) ->
    {ok, Log} = bc_gitops_workspace:build_log(Name),
    Log.

%%% attacks

rebar3_hooks_reach_nothing(Config) -> reaches_nothing(rebar3, Config).

mix_projects_reach_nothing(Config) -> reaches_nothing(mix, Config).

makefiles_reach_nothing(Config) -> reaches_nothing(erlang_mk, Config).

reaches_nothing(Tool, Config) ->
    #{dir := Dir} = Host = ?config(host, Config),
    Before = everything(Dir),
    {Result, Log} = attacked(Tool, Config),
    ?assertMatch({ok, #{tool := Tool}}, Result),
    ?assertEqual(names(Host), bct_hostile:tried(Log)),
    ?assertEqual([], bct_hostile:breaches(Log)),
    ?assertEqual(Before, everything(Dir)).

attacked(Tool, Config) ->
    commit(Config, bct_hostile:project(Tool, "hostile", ?config(host, Config))),
    Result = prepare(hostile, source(Config, <<"main">>)),
    {Result, log(hostile)}.

names(Host) -> lists:usort([bct_hostile:name(Name) || {Name, _} <- bct_hostile:attacks(Host)]).

everything(Dir) ->
    filelib:fold_files(unicode:characters_to_list(Dir), "", true,
                       fun(File, Acc) -> [{File, file:read_file(File)} || not is_ours(File)] ++ Acc end, []).

%% What the servers print, and the mark of this VM's own directory.
is_ours(File) -> filename:extension(File) =:= ".log" orelse filename:basename(File) =:= "owner".

%% The whole of the host's directory is shown: what is secret or ours in it is not.
what_is_shown_too_much_is_covered(Config) ->
    #{dir := Dir} = Host = ?config(host, Config),
    ok = application:set_env(bc_gitops, build_read, [Dir]),
    Before = everything(Dir),
    {{ok, _}, Log} = attacked(erlang_mk, Config),
    ?assertEqual(names(Host), bct_hostile:tried(Log)),
    %% the home's names are shown, and nothing in them; a socket is a thing that may be read
    Shown = bct_hostile:breaches(Log) -- ["list_home", "socket", "read_socket"],
    ?assertEqual([], Shown),
    ?assertEqual(Before, everything(Dir)).

%% The attacks work: what they do not reach in the sandbox is kept from them by it.
without_the_sandbox_only_the_environment_is_safe(Config) ->
    ok = application:set_env(bc_gitops, build_sandbox, off),
    Host = ?config(host, Config),
    {{ok, _}, Log} = attacked(rebar3, Config),
    Safe = names(Host) -- bct_hostile:breaches(Log),
    ?assertEqual(["environment"], Safe -- ["setting" || bct_server:user() =/= "root"]),
    [ok = file:delete(<<File/binary, ".written">>) || {_, File} <- maps:get(files, Host)],
    ok = file:delete(filename:join(maps:get(dir, Host), "home/code.beam")).

%% Nor without the sandbox, as long as it keeps to where it may write.
no_build_poisons_another(Config) ->
    Others = [{bcs_r, bct_app:rebar3("bcs_r", "1.0.0")}, {bcs_m, bct_app:mix("bcs_m", "1.0.0")}],
    [begin
        ok = application:set_env(bc_gitops, build_sandbox, Mode),
        Dir = filename:join(?config(dir, Config), Mode),
        ok = bc_gitops_workspace:init(filename:join(Dir, "workspace")),
        [begin
            Repo = bct_repo:init(filename:join(Dir, Name)),
            bct_repo:commit(Repo, Files),
            Source = #source_spec{type = git, url = bct_repo:url(Repo), ref = <<"main">>},
            ?assertMatch({ok, _}, prepare(Name, Source)),
            ?assertEqual(nomatch, binary:match(log(Name), <<"POISONED">>))
         end || {Name, Files} <- [{hostile, bct_hostile:project(rebar3, "hostile", ?config(host, Config))}
                                  | Others]]
     end || Mode <- [required, off]].

%% The tests of root do it once more as nobody; those of anybody else have done it.
the_same_for_an_ordinary_user(Config) ->
    case bct_server:user() of
        "root" -> as_nobody(?config(dir, Config));
        _ -> ok
    end.

as_nobody(Dir) ->
    Lib = filename:join(Dir, "lib/bc_gitops"),
    ok = filelib:ensure_path(filename:join(Lib, "ebin")),
    Beams = [code:which(Module) || Module <- [bc_gitops_app, bct_hostile]],
    [copy(filename:join(filename:dirname(Beam), "*.{beam,app}"), filename:join(Lib, "ebin")) || Beam <- Beams],
    copy(filename:join(code:priv_dir(bc_gitops), "*"), filename:join(Lib, "priv")),
    Home = filename:join(Dir, "nobody"),
    ok = filelib:ensure_path(Home),
    _ = bct_server:run(bct_server:program("chown", "coreutils"), ["-R", "65534:65534", Dir], "/"),
    Eval = io_lib:format("bct_hostile:as_user(~p), halt().", [filename:join(Home, "host")]),
    Args = ?NOBODY ++ ["env", ["HOME=", Home], "erl",
            "-noinput", "-pa", filename:join(Lib, "ebin"), "-kernel", "logger_level", "critical",
            "-eval", Eval],
    Output = bct_server:run(bct_server:program("setpriv", "util-linux"),
                            [unicode:characters_to_list([Arg]) || Arg <- Args], "/"),
    [Term | _] = lists:reverse(string:lexemes(Output, "\n")),
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Term)),
    {ok, [Required, {off, ok, Tried, Breaches}]} = erl_parse:parse_term(Tokens),
    ?assertEqual(["environment", "setting"], Tried -- Breaches),
    %% Where the kernel gives nobody a user namespace (in a chroot), a sandbox that is required is missed.
    Expected = case bc_gitops_command:run(#{program => "setpriv", args => ?NOBODY ++ ["unshare", "-U", "true"]}) of
        {ok, _} -> {required, ok, Tried, []};
        {error, _} -> {required, sandbox_missing, [], []}
    end,
    ?assertEqual(Expected, Required).

copy(Pattern, To) ->
    ok = filelib:ensure_path(To),
    [{ok, _} = file:copy(File, filename:join(To, filename:basename(File)))
     || File <- filelib:wildcard(unicode:characters_to_list(Pattern))],
    [ok = file:change_mode(File, 8#755) || File <- filelib:wildcard(unicode:characters_to_list([To, "/*"]))].

%%% links

in_both_modes(Config, Script, Check) ->
    commit(Config, bct_app:erlang_mk("demo_link", "1.0.0", Script)),
    [begin
        ok = application:set_env(bc_gitops, build_sandbox, Mode),
        Check(Mode, prepare(demo_link, source(Config, <<"main">>))),
        ?assertEqual([], bct_workspace:scratches()),
        ok = bc_gitops_workspace:delete_package(demo_link)
     end || Mode <- [required, off]].

%% The first command of a build would have the second one's directories be the host's.
links_between_commands_lead_nowhere(Config) ->
    Dir = unicode:characters_to_list(?config(dir, Config)),
    Host = filename:join(Dir, "host"),
    ok = filelib:ensure_path(Host),
    Script = [
        "#!/bin/sh\nscratch=$(dirname $TMPDIR)\n",
        "for name in tmp home cache shm; do rm -rf $scratch/$name; mv $scratch/$name $scratch/old; "
        "ln -s ", Host, " $scratch/$name; done\n",
        "for place in /tmp /dev/shm $HOME $TMPDIR $scratch/cache ", Host, "; do echo x > $place/reached; done\n",
        "echo tried here\nexit 0\n"],
    Files = bct_app:mix("demo_between", "1.0.0"),
    {_, Project} = lists:keyfind("mix.exs", 1, Files),
    Run = "{out, 0} = System.cmd(\"sh\", [\"swap.sh\"], stderr_to_stdout: true)\nIO.puts(out)\n",
    commit(Config, [{"swap.sh", Script} | lists:keyreplace("mix.exs", 1, Files, {"mix.exs", [Run, Project]})]),
    _ = prepare(demo_between, source(Config, <<"main">>)),
    ?assertEqual(["here"], bct_hostile:tried(log(demo_between))),
    ?assertEqual({ok, []}, file:list_dir(Host)),
    ?assertEqual([], bct_workspace:scratches()).

%% Applications of the host are not output of a build.
output_behind_a_link_is_refused(Config) ->
    Ebin = filename:join(?config(dir, Config), "host/leaked/ebin"),
    ok = filelib:ensure_path(Ebin),
    ok = file:write_file(filename:join(Ebin, "leaked.app"), "{application, leaked, [{vsn, \"1\"}]}."),
    Script = "ln -s " ++ unicode:characters_to_list(?config(dir, Config)) ++ "/host deps",
    in_both_modes(Config, Script, fun(_Mode, Result) ->
        ?assertMatch({error, {link_outside, #{message := _}}}, Result)
    end).

a_link_in_place_of_the_source_is_refused(Config) ->
    Ebin = filename:join(?config(dir, Config), "host/ebin"),
    ok = filelib:ensure_path(Ebin),
    ok = file:write_file(filename:join(Ebin, "demo_link.app"), "{application, demo_link, [{vsn, \"1\"}]}."),
    Host = unicode:characters_to_list(?config(dir, Config)) ++ "/host",
    %% the build goes on in the directory that it moved away
    Script = "at=$(pwd); mv $at ../old; ln -s " ++ Host ++ " $at",
    in_both_modes(Config, Script, fun(_Mode, Result) ->
        ?assertMatch({error, {link_outside, #{message := _}}}, Result)
    end).

%% What has no path, and what has no rights.
any_tree_is_removed(Config) ->
    Script = "n=0; d=$(printf 'd%.0s' $(seq 200)); chain=$d; while [ $n -lt 30 ]; do chain=$chain/$d; n=$((n+1)); "
        "done; mkdir -p $chain shut; echo x > shut/file; chmod 0 shut",
    in_both_modes(Config, Script, fun(_Mode, Result) -> ?assertMatch({error, {disk_limit, _}}, Result) end).

%%% limits

%% In both modes: a build of a Makefile that runs a line of shell.
ends_with(Kind, Limits, Script, Config) ->
    [ok = application:set_env(bc_gitops, Key, Value) || {Key, Value} <- Limits],
    commit(Config, bct_app:erlang_mk("demo_limit", "1.0.0", Script)),
    [begin
        ok = application:set_env(bc_gitops, build_sandbox, Mode),
        {error, {Found, Details}} = prepare(demo_limit, source(Config, <<"main">>)),
        ?assertEqual({Mode, Kind}, {Mode, Found}),
        ?assertMatch(#{app := demo_limit, phase := build, message := _}, Details),
        ?assertEqual([], bct_workspace:scratches())
     end || Mode <- [required, off]],
    %% what an honest build needs is less
    commit(Config, bct_app:erlang_mk("demo_limit", "1.0.0")),
    ?assertMatch({ok, _}, prepare(demo_limit, source(Config, <<"main">>))).

too_many_processes(Config) ->
    Script = "for n in 1 2 3 4 5 6 7 8 9 0; do for m in 1 2 3 4 5; do (: bomb; sleep 60; :) & done; done; wait",
    ends_with(process_limit, [{build_processes, 30}], Script, Config),
    ?assertNot(bct_daemon:lives("bomb")).

too_much_memory(Config) ->
    Script = "for n in 1 2 3; do head -c 400000000 /dev/zero | tail -c 300000000 | sleep 60 & done; wait",
    ends_with(memory_limit, [{build_memory, 500 * ?MIB}], Script, Config).

too_much_on_disk(Config) ->
    Script = "for n in 1 2 3 4; do head -c 8000000 /dev/zero > src/file$n; done; sleep 60",
    ends_with(disk_limit, [{build_disk, 20 * ?MIB}], Script, Config).

%% Also where a build writes outside of its tree.
temporary_files_count(Config) ->
    ok = application:set_env(bc_gitops, build_disk, 20 * ?MIB),
    [begin
        Script = "for n in 1 2 3 4; do head -c 8000000 /dev/zero > " ++ Dir ++ "/file$n; done; sleep 60",
        commit(Config, bct_app:erlang_mk("demo_tmp", "1.0.0", Script)),
        ?assertMatch({error, {disk_limit, _}}, prepare(demo_tmp, source(Config, <<"main">>)))
     end || Dir <- ["/tmp", "/dev/shm", "$TMPDIR"]].

too_much_output(Config) ->
    ends_with(output_limit, [], "yes", Config).

daemons_end(Config) ->
    Script = bct_daemon:script("sandbox-daemon") ++ " true",
    commit(Config, bct_app:erlang_mk("demo_daemon", "1.0.0", Script)),
    [begin
        ok = application:set_env(bc_gitops, build_sandbox, Mode),
        ?assertMatch({ok, _}, prepare(demo_daemon, source(Config, <<"main">>))),
        ?assertNot(bct_daemon:lives("sandbox-daemon")),
        ok = bc_gitops_workspace:delete_package(demo_daemon)
     end || Mode <- [required, off]].

%%% network

%% A project whose dependency is not locked, so that its tool would look for it again.
dependent(App, Dependency, Extra) ->
    Deps = io_lib:format("{deps, [{demo_dep, {git, ~p, {branch, \"main\"}}}]}.~n", [Dependency]),
    Hook = "{pre_hooks, [{compile, \"escript attack.escript\"}]}.\n",
    lists:keydelete("rebar.lock", 1,
                    bct_app:rebar3(App, "1.0.0", [{"rebar.config", [Deps, Hook]} | Extra])).

dependencies_come_and_then_the_network_is_cut(Config) ->
    Dir = unicode:characters_to_list(?config(dir, Config)),
    bct_repo:commit(bct_repo:init(filename:join(Dir, "dep")), bct_app:rebar3("demo_dep", "4.0.0")),
    Port = bct_server:free_port(),
    Daemon = bct_server:start(bct_server:program("git-daemon", "git"),
        ["--listen=127.0.0.1", "--port=" ++ integer_to_list(Port), "--base-path=" ++ Dir,
         "--export-all", Dir], filename:join(Dir, "daemon.log")),
    ok = bct_server:wait_tcp(Port),
    {ok, Script} = file:read_file(bct_fixture:path("hostile/attack.escript")),
    Target = io_lib:format("{\"again\", {connect, {127, 0, 0, 1}, ~b}}.~n", [Port]),
    Url = io_lib:format("git://127.0.0.1:~b/dep", [Port]),
    commit(Config, dependent("demo_net", lists:flatten(Url),
                             [{"attack.escript", Script}, {"targets.term", Target}])),
    Result = prepare(demo_net, source(Config, <<"main">>)),
    ok = bct_server:stop(Daemon),
    {ok, #{libs := Libs}} = Result,
    ?assertEqual([demo_dep, demo_net], [Name || #{name := Name} <- Libs]),
    ?assertEqual({["again"], []}, {bct_hostile:tried(log(demo_net)), bct_hostile:breaches(log(demo_net))}).

%% A build gets an agent when the operator names it, and then it only uses it.
an_agent_serves_dependencies(Config) ->
    Dir = ?config(dir, Config),
    Dep = bct_repo:init(filename:join(Dir, "dep")),
    bct_repo:commit(Dep, bct_app:rebar3("demo_dep", "4.0.0")),
    #{key := Key, known_hosts := Known} = Sshd = bct_sshd:start(filename:join(Dir, "sshd")),
    {Socket, Agent} = bct_sshd:agent(Dir, unicode:characters_to_list(Key)),
    ok = application:set_env(bc_gitops, git_known_hosts, Known),
    Target = io_lib:format("{\"agent\", {connect, {local, ~p}, 0}}.~n", [Socket]),
    {ok, Script} = file:read_file(bct_fixture:path("hostile/attack.escript")),
    commit(Config, dependent("demo_ssh", unicode:characters_to_list(bct_sshd:url(Sshd, Dep)),
                             [{"attack.escript", Script}, {"targets.term", Target}])),
    Before = os:getenv("SSH_AUTH_SOCK"),
    true = os:putenv("SSH_AUTH_SOCK", Socket),
    Without = prepare(demo_ssh, source(Config, <<"main">>)),
    ok = application:set_env(bc_gitops, build_env, ["SSH_AUTH_SOCK"]),
    With = prepare(demo_ssh, source(Config, <<"main">>)),
    case Before of false -> os:unsetenv("SSH_AUTH_SOCK"); _ -> os:putenv("SSH_AUTH_SOCK", Before) end,
    ok = bct_server:stop(Agent),
    ok = bct_sshd:stop(Sshd),
    ?assertMatch({error, {deps_failed, _}}, Without),
    ?assertMatch({ok, #{libs := [#{name := demo_dep}, _]}}, With),
    ?assertEqual({["agent"], []}, {bct_hostile:tried(log(demo_ssh)), bct_hostile:breaches(log(demo_ssh))}).

%%% modes

%% With PATH being what bct_consumer makes of it.
with_path(Config, Missing, Scripts, Fun) ->
    Before = os:getenv("PATH"),
    Dir = filename:join(unicode:characters_to_list(?config(dir, Config)), "path"),
    true = os:putenv("PATH", bct_consumer:path_with(Dir, Missing, Scripts)),
    try Fun() after os:putenv("PATH", Before) end.

required_without_bubblewrap(Config) ->
    commit(Config, bct_app:erlang_mk("demo_req", "1.0.0")),
    with_path(Config, ["bwrap"], [], fun() ->
        {error, {sandbox_missing, #{message := Message}}} =
            prepare(demo_req, source(Config, <<"main">>)),
        ?assertNotEqual(nomatch, binary:match(Message, <<"apt-get install bubblewrap">>)),
        ?assertEqual(0, bct_workspace:builds(demo_req, "make app"))
    end).

auto_without_bubblewrap(Config) ->
    ok = application:set_env(bc_gitops, build_sandbox, auto),
    commit(Config, bct_app:erlang_mk("demo_auto", "1.0.0")),
    Broken = {"bwrap", "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1"},
    with_path(Config, [], [Broken], fun() ->
        ?assertMatch({ok, none}, bc_gitops_sandbox:choose()),
        ?assertMatch({ok, _}, prepare(demo_auto, source(Config, <<"main">>))),
        ?assertNotEqual(nomatch, binary:match(log(demo_auto), <<"== no sandbox">>)),
        ok = application:set_env(bc_gitops, build_sandbox, required),
        {error, {sandbox_missing, #{message := Message}}} = bc_gitops_sandbox:choose(),
        ?assertNotEqual(nomatch, binary:match(Message, <<"setting up uid map">>))
    end),
    %% mended: no restart is needed
    ok = bc_gitops_workspace:delete_package(demo_auto),
    ?assertMatch({ok, _}, prepare(demo_auto, source(Config, <<"main">>))),
    ?assertNotEqual(nomatch, binary:match(log(demo_auto), <<"== sandbox: bubblewrap">>)).

said_once(_Config) ->
    Said = fun(Mode) ->
        ok = application:set_env(bc_gitops, build_sandbox, Mode),
        Lines = bct_log:capture(fun() -> [{ok, _} = bc_gitops_sandbox:choose() || _ <- [1, 2, 3]] end),
        length([Line || Line <- Lines, string:find(Line, "sandbox") =/= nomatch])
    end,
    _ = Said(off),
    ?assertEqual([1, 1, 0], [Said(Mode) || Mode <- [auto, off, off]]).

%% Links to directories and to programs below a home, as version managers make them.
tools_in_a_home_are_found(Config) ->
    Home = filename:join(unicode:characters_to_list(?config(dir, Config)), "home"),
    Tool = filename:join(Home, "tools/rebar-9/rebar3"),
    {ok, Rebar3} = bc_gitops_command:find("rebar3"),
    ok = filelib:ensure_dir(Tool),
    ok = file:write_file(Tool, ["#!/bin/sh\necho the rebar3 of a home\nexec ", Rebar3, " \"$@\"\n"]),
    ok = file:change_mode(Tool, 8#755),
    ok = file:make_symlink("rebar-9", filename:join(Home, "tools/current")),
    ok = filelib:ensure_path(filename:join(Home, ".local/bin")),
    ok = file:make_symlink("../../tools/current/rebar3", filename:join(Home, ".local/bin/rebar3")),
    Before = [{Name, os:getenv(Name)} || Name <- ["HOME", "PATH"]],
    true = os:putenv("HOME", Home),
    commit(Config, bct_app:rebar3("demo_home", "1.0.0")),
    Built = [begin
        true = os:putenv("PATH", filename:join(Home, Dir) ++ ":" ++ proplists:get_value("PATH", Before)),
        {element(1, prepare(demo_home, source(Config, <<"main">>))), bc_gitops_workspace:delete_package(demo_home),
         length(binary:matches(log(demo_home), <<"the rebar3 of a home">>))}
     end || Dir <- [".local/bin", "tools/current"]],
    [os:putenv(Name, Value) || {Name, Value} <- Before],
    ?assertEqual([{ok, ok, 1}, {ok, ok, 2}], Built).

an_app_may_have_any_name(Config) ->
    [begin
        Repo = bct_repo:init(filename:join(?config(dir, Config), ["any-", Name])),
        bct_repo:commit(Repo, bct_app:erlang_mk(Name, "1.0.0")),
        Source = #source_spec{type = git, url = bct_repo:url(Repo), ref = <<"main">>},
        ?assertMatch({ok, _}, prepare(list_to_atom(Name), Source))
     end || Name <- ["home", "tmp", "out", "cache", "src"]].
