%%% Packages of Hex from a commit to what runs: a real registry on loopback, the real reconciler,
%%% real builds.
-module(hex_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        a_package_is_deployed_and_upgraded, a_spec_without_a_source_is_a_package,
        the_same_commit_builds_the_same_code_tomorrow, another_version_keeps_the_dependencies_it_can,
        a_locked_dependency_that_was_replaced_is_refused, the_archive_that_a_spec_names,
        going_back_takes_no_registry,
        each_failure_has_its_own_sentence, a_registry_that_is_gone_is_said,
        a_key_that_is_refused_is_said, an_archive_that_changed_since_is_refused,
        a_private_registry_is_used_with_its_key, a_key_may_stand_in_a_variable, no_key_is_shown,
        what_two_apps_need_is_fetched_once, archives_that_are_kept_have_a_limit,
        make_builds_what_says_so, elixir_packages, packages_for_all_tools_together
    ].

init_per_testcase(Case, Config) ->
    Context = bct_gitops:setup(atom_to_list(Case)),
    World = bct_hex:start(filename:join(maps:get(dir, Context), "registries")),
    [{context, Context}, {world, World} | Config].

%% What a case deployed must be gone before the next: they share this VM.
end_per_testcase(_Case, Config) ->
    case bc_gitops:get_current_state() of
        {ok, Apps} -> lists:foreach(fun(Name) -> ok = bc_gitops:remove(Name) end, maps:keys(Apps));
        {error, _} -> ok
    end,
    bct_hex:stop(world(Config)),
    bct_gitops:teardown(context(Config)).

context(Config) -> proplists:get_value(context, Config).

world(Config) -> proplists:get_value(world, Config).

start(Config) -> start(Config, #{}).

start(Config, More) ->
    Mine = maps:merge(bct_hex:config(world(Config)), #{runtime_module => bc_gitops_runtime_default}),
    bct_gitops:start(context(Config), maps:merge(Mine, More)).

push(Config, Specs) ->
    bct_gitops:push(context(Config), [bct_gitops:spec(Name, Version) || {Name, Version} <- Specs]).

%%% What runs

a_package_is_deployed_and_upgraded(Config) ->
    _ = push(Config, [{bch_top, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual("1.0.0", version(bch_top)),
    ?assertEqual([{bch_mid, "1.1.0"}, {bch_low, "1.1.0"}], needs(bch_top)),
    ?assertEqual([{bch_low, "1.1.0"}, {bch_util, "1.1.0"}], needs(bch_mid)),
    ?assertEqual({ok, <<"hello">>}, file:read_file(filename:join(code:priv_dir(bch_mid), "greeting.txt"))),
    _ = push(Config, [{bch_top, "1.1.0"}]),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"1.1.0", <<"1.1.0">>}, {version(bch_top), bct_gitops:version(bch_top)}),
    ?assertMatch({ok, #{status := synced}}, bc_gitops:status()),
    %% by hand, until the next commit
    ok = bc_gitops:upgrade(bch_top, <<"1.0.0">>),
    ?assertEqual("1.0.0", version(bch_top)).

a_spec_without_a_source_is_a_package(Config) ->
    Spec = fun(Version) ->
        {"apps/bch_top/app.yaml", ["name: bch_top\nversion: \"", Version, "\"\n"]}
    end,
    _ = bct_gitops:push(context(Config), [Spec("1.0.0")]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual("1.0.0", version(bch_top)),
    _ = bct_gitops:push(context(Config), [Spec("1.1.0")]),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual("1.1.0", version(bch_top)).

%%% The lock

%% Nothing is left of the builds, and newer versions are there: the state says what was chosen.
the_same_commit_builds_the_same_code_tomorrow(Config) ->
    _ = push(Config, [{bch_top, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    #{revision := Revision} = bct_gitops:details(bch_top),
    publish_newer(Config),
    forget_builds(Config),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertMatch(#{revision := Revision}, bct_gitops:details(bch_top)),
    ?assertEqual([{bch_mid, "1.1.0"}, {bch_low, "1.1.0"}], needs(bch_top)),
    ?assertEqual(#{<<"bch_top-1.0.0.tar">> => 1, <<"bch_mid-1.1.0.tar">> => 1,
                   <<"bch_low-1.1.0.tar">> => 1, <<"bch_util-1.1.0.tar">> => 1}, tarballs(Config)).

%% As a lock file has it: nothing moves but what must.
another_version_keeps_the_dependencies_it_can(Config) ->
    _ = push(Config, [{bch_top, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    publish_newer(Config),
    #{hexpm := Hexpm} = world(Config),
    ok = bct_hex:publish(Hexpm, [
        bct_hex:erlang("bch_util", "1.2.0", []),
        bct_hex:erlang("bch_top", "1.2.0", [{"bch_mid", "~> 1.0"}, {"bch_low", "~> 1.2"}])]),
    _ = push(Config, [{bch_top, "1.1.0"}]),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"1.1.0", [{bch_mid, "1.1.0"}, {bch_low, "1.1.0"}]}, {version(bch_top), needs(bch_top)}),
    _ = push(Config, [{bch_top, "1.2.0"}]),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual([{bch_mid, "1.1.0"}, {bch_low, "1.2.0"}], needs(bch_top)),
    ?assertEqual([{bch_low, "1.2.0"}, {bch_util, "1.1.0"}], needs(bch_mid)),
    %% without the application nothing is preferred
    ok = bc_gitops:remove(bch_top),
    ok = bc_gitops_workspace:cleanup(),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual([{bch_low, "1.2.0"}, {bch_util, "1.2.0"}], needs(bch_mid)).

%% The dependency that stays is the one that was locked, not another one of its version.
a_locked_dependency_that_was_replaced_is_refused(Config) ->
    _ = push(Config, [{bch_top, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    Other = [{"src/bch_low_backdoor.erl", "-module(bch_low_backdoor).\n"}],
    ok = bct_hex:publish(maps:get(hexpm, world(Config)), [bct_hex:erlang("bch_low", "1.1.0", [], Other)]),
    _ = push(Config, [{bch_top, "1.1.0"}]),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_top, checksum_changed, ["bch_low 1.1.0", "hexpm"]),
    ?assertEqual("1.0.0", version(bch_top)).

going_back_takes_no_registry(Config) ->
    _ = start(Config),
    Go = fun(Version) ->
        _ = push(Config, [{bch_top, Version}]),
        ok = said(bc_gitops:reconcile()),
        ?assertEqual(Version, version(bch_top))
    end,
    ok = Go("1.0.0"),
    ok = Go("1.1.0"),
    publish_newer(Config),
    ok = bcg_hex_registry:stop(maps:get(hexpm, world(Config))),
    ok = Go("1.0.0"),
    ?assertEqual([{bch_mid, "1.1.0"}, {bch_low, "1.1.0"}], needs(bch_top)).

%%% What can go wrong

each_failure_has_its_own_sentence(Config) ->
    Expected = [
        {bch_nowhere, "1.0.0", package_not_found, ["no repository", "bch_nowhere", "acme, hexpm"]},
        {bch_low, "9.0.0", version_not_found, ["9.0.0", "bch_low", "1.1.0"]},
        {bch_util, "1.0", bad_name, ["1.0", "write it like"]},
        {bch_retired, "1.0.0", version_retired, ["bch_retired 1.0.0", "retired", "1.1.0"]},
        {bch_tampered, "1.0.0", checksum_mismatch, ["bch_tampered 1.0.0", "hexpm"]},
        {bch_forged, "1.0.0", bad_signature, ["bch_forged", "hexpm", "sign"]},
        {bch_forked, "1.0.0", same_application,
         ["bch_fork 1.0.0 and bch_low 1.1.0", "application, bch_low,", "bch_forked needs them"]}
    ],
    ok = bct_hex:publish(maps:get(hexpm, world(Config)), [
        (bct_hex:erlang("bch_low", "1.0.0", []))#{name := <<"bch_fork">>, app => <<"bch_low">>},
        bct_hex:erlang("bch_forked", "1.0.0", [{"bch_low", "~> 1.0"}, {"bch_fork", "~> 1.0"}])]),
    _ = push(Config, [{Name, Version} || {Name, Version, _, _} <- Expected]),
    _ = start(Config),
    {error, {actions_failed, Failed}} = bc_gitops:reconcile(),
    ?assertEqual(length(Expected), length(Failed)),
    ?assertMatch({ok, #{status := degraded}}, bc_gitops:status()),
    Sentences = [is_said(Name, Kind, Parts) || {Name, _, Kind, Parts} <- Expected],
    ?assertEqual(length(Expected), length(lists:usort(Sentences))).

the_archive_that_a_spec_names(Config) ->
    Pin = fun(Sha256) ->
        Spec = bct_gitops:spec(bch_low, "1.0.0", #{source => #{type => hex, sha256 => Sha256}}),
        bct_gitops:push(context(Config), [Spec])
    end,
    Wrong = binary:copy(<<"ab">>, 32),
    _ = Pin(Wrong),
    _ = start(Config),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    Message = is_said(bch_low, digest_mismatch, ["bch_low 1.0.0", "hexpm", Wrong]),
    {match, [Found]} = re:run(Message, "found ([0-9a-f]{64})", [{capture, all_but_first, binary}]),
    _ = Pin(string:uppercase(Found)),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual("1.0.0", version(bch_low)),
    _ = Pin(base64:encode(binary:decode_hex(Found))),
    ok = said(bc_gitops:reconcile()),
    %% what is built and locked already does not make a wrong one right
    _ = Pin(Wrong),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_low, digest_mismatch, [Found, Wrong]),
    ?assertEqual("1.0.0", version(bch_low)).

a_registry_that_is_gone_is_said(Config) ->
    _ = push(Config, [{bch_top, "1.0.0"}]),
    ok = bcg_hex_registry:stop(maps:get(hexpm, world(Config))),
    _ = start(Config),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_top, registry_unreachable, ["hexpm", "bch_top", "no connection"]),
    ?assertMatch(#{state := backing_off}, bct_gitops:details(bch_top)).

a_key_that_is_refused_is_said(Config) ->
    #{key_file := File} = world(Config),
    ok = file:write_file(File, "another key"),
    _ = push(Config, [{bch_secret, "1.0.0"}]),
    _ = start(Config),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_secret, registry_unauthorized, ["acme"]),
    ok = file:delete(File),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_secret, bad_key, ["acme", File]).

%% Published again under the same version, well signed: nobody but the lock knows.
an_archive_that_changed_since_is_refused(Config) ->
    _ = push(Config, [{bch_top, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    #{hexpm := Hexpm} = world(Config),
    Other = [{"src/bch_low_backdoor.erl", "-module(bch_low_backdoor).\n"}],
    ok = bct_hex:publish(Hexpm, [bct_hex:erlang("bch_low", "1.1.0", [], Other)]),
    forget_builds(Config),
    _ = start(Config),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_top, checksum_changed, ["bch_low 1.1.0", "hexpm"]),
    ?assertEqual(non_existing, code:which(bch_low_backdoor)).

%%% Private registries

a_private_registry_is_used_with_its_key(Config) ->
    _ = push(Config, [{bch_secret, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual([{bch_low, "1.1.0"}], needs(bch_secret)).

%% The native library sees the variables that the VM was started with: one of them is the key here.
a_key_may_stand_in_a_variable(Config) ->
    Dir = filename:join(maps:get(dir, context(Config)), "by_variable"),
    World = bct_hex:start(Dir, list_to_binary(os:getenv("HOME"))),
    #{hex_repos := [Acme | Others]} = bct_hex:config(World),
    Repos = [(maps:remove(auth_key_file, Acme))#{auth_key_env => "HOME"} | Others],
    _ = push(Config, [{bch_secret, "1.0.0"}]),
    _ = start(Config, #{hex_repos => Repos}),
    ok = said(bc_gitops:reconcile()),
    ok = bct_hex:stop(World),
    ?assertEqual("1.0.0", version(bch_secret)).

%% The build of the package says what it sees.
no_key_is_shown(Config) ->
    #{acme := Acme} = world(Config),
    Hook = "{pre_hooks, [{compile, \"sh -c 'env; cat /proc/self/environ; cat /proc/$PPID/environ' "
           "> priv/seen.txt\"}]}.\n{deps, []}.\n",
    ok = bct_hex:publish(Acme, [bct_hex:erlang("bch_spy", "1.0.0", [], [{"rebar.config", Hook}])]),
    Level = maps:get(level, logger:get_primary_config()),
    ok = logger:set_primary_config(level, debug),
    _ = push(Config, [{bch_spy, "1.0.0"}]),
    Log = bct_log:capture(fun() ->
        _ = start(Config),
        ok = said(bc_gitops:reconcile())
    end),
    {ok, Seen} = file:read_file(filename:join(code:priv_dir(bch_spy), "seen.txt")),
    ?assertNotEqual(nomatch, binary:match(Seen, <<"REBAR_CACHE_DIR">>)),
    {ok, BuildLog} = bc_gitops:build_log(bch_spy),
    Texts = [Seen, BuildLog, Log, tables(), states(), files(Config),
             io_lib:format("~tp", [{bc_gitops:status(), bc_gitops:get_app_status(bch_spy)}])],
    ok = logger:set_primary_config(level, Level),
    ?assertEqual([], [string:slice(Text, max(0, At - 100), 200)
                      || Given <- Texts, Text <- [bytes(Given)], {At, _} <- [binary:match(Text, bct_hex:key())]]).

bytes(Given) ->
    try iolist_to_binary(Given)
    catch error:badarg -> unicode:characters_to_binary(Given)
    end.

%% Every table that may be read, and what every process of ours holds.
tables() ->
    [io_lib:format("~0tp", [catch ets:tab2list(Table)]) || Table <- ets:all()].

states() ->
    Named = [Name || Name <- registered(), lists:prefix("bc_gitops", atom_to_list(Name))],
    io_lib:format("~0tp", [[sys:get_state(Name) || Name <- Named]]).

files(Config) ->
    #{dir := Dir} = context(Config),
    Root = unicode:characters_to_list(Dir),
    Paths = [filename:join(Root, File) || Sub <- ["state", "workspace", "clone"],
                                          File <- filelib:wildcard(Sub ++ "/**", Root)],
    Contents = [element(2, file:read_file(Path)) || Path <- Paths, filelib:is_regular(Path)],
    [[C, bytes(plain(C))] || C <- Contents].

%% State files are compressed terms behind a line of text.
plain(Content) ->
    case binary:split(Content, <<"\n">>) of
        [_, <<_:32, 131, _/binary>> = Rest] ->
            <<_:32, Term/binary>> = Rest,
            io_lib:format("~0tp", [binary_to_term(Term)]);
        _ -> []
    end.

%%% Economy

what_two_apps_need_is_fetched_once(Config) ->
    #{hexpm := Hexpm} = world(Config),
    ok = bct_hex:publish(Hexpm, [bct_hex:erlang("bch_other", "1.0.0", [{"bch_low", "~> 1.0"}])]),
    _ = push(Config, [{bch_top, "1.0.0"}, {bch_other, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({[{bch_low, "1.1.0"}], "1.0.0"}, {needs(bch_other), version(bch_top)}),
    ?assertMatch(#{<<"bch_low-1.1.0.tar">> := 1, <<"bch_other-1.0.0.tar">> := 1}, tarballs(Config)).

%% What is kept of archives has a limit: the file that was not asked for the longest goes, whatever it
%% is. It takes no room on the disk.
archives_that_are_kept_have_a_limit(Config) ->
    Tarballs = filename:join(maps:get(dir, context(Config)), "workspace/packages/tarballs"),
    ok = filelib:ensure_path(Tarballs),
    Old = filename:join(Tarballs, "old"),
    {ok, File} = file:open(Old, [write, raw]),
    {ok, _} = file:position(File, 2 * 1024 * 1024 * 1024),
    ok = file:truncate(File),
    ok = file:close(File),
    ok = file:change_time(Old, {{2020, 1, 1}, {0, 0, 0}}),
    Kept = fun() -> {ok, Names} = file:list_dir(Tarballs), Names end,
    _ = push(Config, [{bch_top, "1.0.0"}]),
    _ = start(Config),
    ?assertEqual(["old"], Kept()),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({4, false}, {length(Kept()), lists:member("old", Kept())}),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual([], Kept()).

%%% Other build tools

make_builds_what_says_so(Config) ->
    #{hexpm := Hexpm} = world(Config),
    Package = (bct_hex:erlang("bch_made", "1.0.0", []))#{
        build_tools => [<<"make">>], files => bct_app:erlang_mk("bch_made", "1.0.0")},
    ok = bct_hex:publish(Hexpm, [Package]),
    _ = push(Config, [{bch_made, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual("1.0.0", version(bch_made)).

%% An Elixir package that needs one of each kind. Where Hex for Mix is missing it is said how to get it.
elixir_packages(Config) ->
    _ = push(Config, [{bch_ex, "1.0.0"}]),
    _ = start(Config),
    Result = bc_gitops:reconcile(),
    case has_hex_for_mix() of
        true ->
            ok = said(Result),
            ?assertEqual([{bch_exlow, {ok, "1.1.0"}}, {bch_low, {ok, "1.1.0"}}],
                         apply('Elixir.BchEx.Needs', needs, [])),
            ?assertEqual(49, apply('Elixir.BchEx', area, [7]));
        false ->
            _ = is_said(bch_ex, hex_for_mix_missing, ["bch_ex", "mix local.hex", "erlang-hex"])
    end.

%% An Erlang package of the private registry that needs an Elixir one, and that one for make.
packages_for_all_tools_together(Config) ->
    #{hexpm := Hexpm, acme := Acme} = world(Config),
    Of = fun(Repo) -> #{<<"requirement">> => <<"~> 1.0">>, <<"repository">> => Repo} end,
    Made = (bct_hex:erlang("bch_made", "1.0.0", []))#{
        build_tools => [<<"make">>], files => made("bch_made", "1.0.0")},
    ok = bct_hex:publish(Hexpm, [Made]),
    ok = bct_hex:publish(Acme, [
        bct_hex:elixir("bch_exmade", "1.0.0", [{"bch_made", Of(<<"hexpm">>)}]),
        (bct_hex:erlang("bch_mixed", "1.0.0", []))#{requirements => #{
            <<"bch_exmade">> => Of(<<"acme">>), <<"bch_low">> => Of(<<"hexpm">>)}}
    ]),
    _ = push(Config, [{bch_mixed, "1.0.0"}]),
    _ = start(Config),
    Result = bc_gitops:reconcile(),
    case has_hex_for_mix() of
        true ->
            ok = said(Result),
            ?assertEqual("1.0.0", version(bch_mixed)),
            {ok, #{libs := Libs}} = bc_gitops_workspace:lookup(maps:get(build, bct_gitops:details(bch_mixed))),
            Names = [Name || #{name := Name} <- Libs],
            ?assertEqual([], [bch_mixed, bch_exmade, bch_made, bch_low] -- Names);
        false ->
            _ = is_said(bch_mixed, hex_for_mix_missing, ["bch_mixed", "mix local.hex"])
    end.

%% mix runs `make clean' and `make'.
made(App, Version) ->
    [{"Makefile", ["all:\n\tmkdir -p ebin\n\terlc -o ebin src/*.erl\n\tcp src/", App, ".app.src ebin/", App, ".app\n",
                   "clean:\n\trm -rf ebin\n"]}
     | [File || {Path, _} = File <- bct_app:erlang_mk(App, Version), Path =/= "Makefile"]].

has_hex_for_mix() ->
    Port = open_port({spawn_executable, os:find_executable("mix")},
                     [{args, ["hex"]}, {cd, "/"}, exit_status, binary, stderr_to_stdout]),
    finished(Port) =:= 0.

finished(Port) ->
    receive
        {Port, {data, _}} -> finished(Port);
        {Port, {exit_status, Status}} -> Status
    end.

%%% Helpers

%% bc_gitops stops, what it built and fetched is lost, the registry is asked anew.
forget_builds(Config) ->
    forget_builds(Config, [bch_top, bch_mid, bch_low, bch_util]).

forget_builds(Config, Apps) ->
    ok = application:stop(bc_gitops),
    #{dir := Dir} = context(Config),
    _ = [application:stop(App) || App <- Apps],
    _ = [begin code:purge(M), code:delete(M), code:purge(M) end
         || {M, _} <- code:all_loaded(), lists:prefix("bch_", atom_to_list(M))],
    _ = [application:unload(App) || App <- Apps],
    ok = file:del_dir_r(filename:join(Dir, "workspace")),
    bcg_hex_registry:forget_requests(maps:get(hexpm, world(Config))).

publish_newer(Config) ->
    bct_hex:publish(maps:get(hexpm, world(Config)), [bct_hex:erlang("bch_low", "1.2.0", [])]).

tarballs(Config) -> bct_hex:tarballs(maps:get(hexpm, world(Config))).

version(App) -> apply(App, version, []).

needs(App) -> apply(list_to_atom(atom_to_list(App) ++ "_needs"), versions, []).

%% The kind of an app's last error, and the parts of its sentence; answers the sentence.
is_said(App, Kind, Parts) ->
    #{last_error := #{reason := {Found, _}, message := Message}} = bct_gitops:details(App),
    ct:log("~s: ~ts", [App, Message]),
    ?assertEqual({App, Kind}, {App, Found}),
    ?assertEqual([], [Part || Part <- Parts, string:find(Message, Part) =:= nomatch]),
    ?assertEqual(nomatch, binary:match(Message, [<<"#{">>, <<"<<">>, <<"\n">>])),
    ?assertMatch({ok, #{failures := #{App := Message}}}, bc_gitops:status()),
    Message.

said(ok) -> ok;
said({error, Reason}) ->
    ct:pal("~ts", [bc_gitops:format_error(Reason)]),
    {error, Reason}.
