%%% @doc Builds made of source text, as the workspace would hand them to the runtime: compiled into
%%% `<workspace>/store/<key>/lib/<app>/ebin'.
-module(bct_build).
-export([make/2, make/3, lib/3, build/3, app/1, app/2, offer/2, publish/1, damage/2]).

%% @doc A build of one application. Options: vsn, modules => [{Name, SourceText}], app => extra keys
%% of the .app file, files => [{RelativePath, Content}], libs => [lib()] that come before it.
make(Store, Options) ->
    make(Store, maps:get(name, Options), Options).

make(Store, Name, Options) ->
    Key = maps:get(key, Options, key(Name)),
    Lib = lib(Store, Key, Options#{name => Name}),
    {ok, Build} = bc_gitops_store:seal(Store, build(Key, Lib, maps:get(libs, Options, []))),
    Build.

key(Name) ->
    iolist_to_binary([atom_to_binary(Name), $-, integer_to_binary(erlang:unique_integer([positive]))]).

build(Key, #{name := Name, version := Version, path := Path} = Lib, Libs) ->
    #{key => Key, app => Name, version => Version, revision => Key, tool => rebar3, path => Path,
      libs => Libs ++ [Lib], toolchain => <<"test">>, needs => [],
      otp => list_to_binary(erlang:system_info(otp_release))}.

%% @doc Compiles one application into the store.
lib(Store, Key, #{name := Name} = Options) ->
    Dir = filename:join([bc_gitops_store:path(Store, Key), <<"lib">>, atom_to_binary(Name)]),
    Ebin = filename:join(Dir, "ebin"),
    ok = filelib:ensure_path(Ebin),
    lists:foreach(
        fun({Path, Content}) ->
            File = filename:join(Dir, Path),
            ok = filelib:ensure_dir(File),
            ok = file:write_file(File, Content)
        end,
        maps:get(files, Options, [])
    ),
    Compiled = [compile(Ebin, Module, Text) || {Module, Text} <- maps:get(modules, Options, [])],
    Vsn = maps:get(vsn, Options, "1.0.0"),
    App = {application, Name, maps:get(app, Options, []) ++ [
        {vsn, Vsn}, {description, ""}, {modules, [M || {M, _} <- Compiled]},
        {registered, []}, {applications, [kernel, stdlib]}
    ]},
    ok = file:write_file(filename:join(Ebin, atom_to_list(Name) ++ ".app"), io_lib:format("~tp.~n", [App])),
    #{name => Name, version => iolist_to_binary(Vsn), path => Dir, modules => maps:from_list(Compiled)}.

compile(Ebin, Module, Text) ->
    Source = filename:join(Ebin, atom_to_list(Module) ++ ".erl"),
    ok = file:write_file(Source, ["-module(", atom_to_list(Module), ").\n", Text]),
    {ok, Module, Code} = compile:file(unicode:characters_to_list(Source),
                                      [binary, deterministic, debug_info, export_all, nowarn_export_all]),
    ok = file:delete(Source),
    ok = file:write_file(filename:join(Ebin, atom_to_list(Module) ++ ".beam"), Code),
    {Module, code:module_md5(Code)}.

%% @doc The callback module and root supervisor of an application; Callbacks overrides `start/2' and
%% others by name.
app(Callbacks) ->
    app(Callbacks, "").

app(Callbacks, More) ->
    Defaults = #{
        start => "start(_, _) -> supervisor:start_link(?MODULE, []).",
        stop => "stop(_) -> ok.",
        init => "init([]) -> {ok, {#{}, []}}."
    },
    Texts = maps:values(maps:merge(Defaults, Callbacks)),
    iolist_to_binary(["-behaviour(application).\n", lists:join("\n", Texts), "\n", More]).

%% @doc Makes the build what the workspace has prepared for this name and source.
offer(#{app := Name} = Build, Source) ->
    true = ets:insert(bc_gitops_workspace_server:table(), {{prepared, Name, Source}, Build}),
    ok.

%% @doc The build, as the workspace's store finds it by its key.
publish(#{key := Key} = Build) ->
    {ok, _} = bc_gitops_workspace:lookup(Key),
    Build.

%% @doc Changes, or removes, a file of a build, which is read-only.
damage(File, Content) ->
    ok = file:change_mode(filename:dirname(File), 8#755),
    _ = file:delete(File),
    case Content of
        none -> ok;
        _ -> file:write_file(File, Content)
    end.
