%%% @doc Archives of releases: real ones of rebar3 and mix, and small ones made file by file.
-module(bct_release).
-export([rebar3/2, mix/2, small/3, pack/2, pack/3, sha256/1]).

%% @doc What `rebar3 tar' leaves of a project with the applications bct_shop and bct_goods, which it
%% needs, and bct_other, which it does not need.
rebar3(Dir, Version) ->
    Project = filename:join(Dir, "rebar3-" ++ Version),
    write(Project, [
        {"rebar.config", [
            "{relx, [{release, {bct_shop, \"", Version, "\"}, [bct_shop, bct_other, sasl]},\n"
            "        {mode, prod}, {include_erts, false}, {include_src, false}]}.\n"]},
        {"apps/bct_shop/priv/greeting.txt", "hello"}
        | lists:append([
            application(Project, "bct_shop", Version, "kernel, stdlib, bct_goods"),
            application(Project, "bct_goods", Version, "kernel, stdlib"),
            application(Project, "bct_other", Version, "kernel, stdlib")])
    ]),
    {0, _} = ran(bct_consumer:run(Project, "rebar3", ["tar"])),
    Built = filename:join(Project, "_build/default/rel/bct_shop/bct_shop-" ++ Version ++ ".tar.gz"),
    {ok, Archive} = file:read_file(Built),
    Archive.

application(_Project, App, Version, Needs) ->
    File = binary:replace(iolist_to_binary(bct_app:app_file(App, Version)), <<"kernel, stdlib">>,
                          list_to_binary(Needs)),
    Files = bct_app:rebar3(App, Version, [{"src/" ++ App ++ ".app.src", File}]),
    [{filename:join(["apps", App, Path]), Content} || {Path, Content} <- Files,
        lists:prefix("src/", Path)].

%% @doc What `mix release' leaves, as an archive.
mix(Dir, Version) ->
    Project = filename:join(Dir, "mix-" ++ Version),
    Files = bct_app:mix("bct_shelf", Version),
    {_, Exs} = lists:keyfind("mix.exs", 1, Files),
    Releases = "deps: [], releases: [bct_shelf: [include_erts: false, steps: [:assemble, :tar]]]]",
    write(Project, lists:keystore("mix.exs", 1, Files,
        {"mix.exs", binary:replace(iolist_to_binary(Exs), <<"deps: []]">>, list_to_binary(Releases))})),
    {0, _} = ran(bct_consumer:run(Project, "mix", ["release", "--overwrite"], [{"MIX_ENV", "prod"}])),
    {ok, Archive} = file:read_file(filename:join(Project, "_build/prod/bct_shelf-" ++ Version ++ ".tar.gz")),
    Archive.

ran({0, _} = Good) -> Good;
ran({Status, Output}) -> error({failed, Status, Output}).

write(Dir, Files) ->
    lists:foreach(fun({Path, Content}) ->
        File = filename:join(Dir, Path),
        ok = filelib:ensure_dir(File),
        ok = file:write_file(File, Content)
    end, Files).

%% @doc The files of a release of one application with one module; Extra ones come after them.
small(App, Version, Extra) ->
    Name = atom_to_list(App),
    Lib = "lib/" ++ Name ++ "-" ++ Version ++ "/",
    Forms = [{attribute, 1, module, App}, {attribute, 1, export, [{version, 0}]},
             {function, 1, version, 0, [{clause, 1, [], [], [{string, 1, Version}]}]}],
    {ok, App, Code} = compile:forms(Forms, [deterministic]),
    Resource = {application, App, [{vsn, Version}, {modules, [App]}, {registered, []},
                                   {applications, [kernel, stdlib]}]},
    Files = [
        {Lib ++ "ebin/" ++ Name ++ ".app", io_lib:format("~tp.~n", [Resource])},
        {Lib ++ "ebin/" ++ Name ++ ".beam", Code},
        {"releases/start_erl.data", [erlang:system_info(version), " ", Version]}
    ],
    [File || {Path, _} = File <- Files, not lists:keymember(Path, 1, Extra)] ++ Extra.

%% @doc Files as a tar.gz. Those that are no files: `{Name, {symlink, Target}}'.
pack(Dir, Files) ->
    pack(Dir, Files, [compressed]).

pack(Dir, Files, Options) ->
    Path = filename:join(Dir, "packed.tar"),
    {ok, Tar} = erl_tar:open(Path, [write | Options]),
    lists:foreach(fun
        ({Name, {symlink, Target}}) ->
            Link = filename:join(Dir, "link"),
            ok = file:make_symlink(Target, Link),
            ok = erl_tar:add(Tar, unicode:characters_to_list(Link), Name, []),
            ok = file:delete(Link);
        ({Name, Content}) ->
            ok = erl_tar:add(Tar, iolist_to_binary(Content), Name, [])
    end, Files),
    ok = erl_tar:close(Tar),
    {ok, Archive} = file:read_file(Path),
    ok = file:delete(Path),
    Archive.

%% @doc The digest as a spec has it.
sha256(Bytes) ->
    << <<(string:lowercase(integer_to_binary(N, 16)))/binary>> || <<N:4>> <= crypto:hash(sha256, Bytes) >>.
