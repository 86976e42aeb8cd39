%%% @doc Where object code is: the files of what runs, of what is to run, and of what ran before
%%% they were written anew.
%%%
%%% A module's file is the one that `code:load_file/1' would take, else the one it was loaded from.
-module(bc_gitops_hot_files).

-export([file/1, app_modules/1, digests/1, is_changed/3, files/2, former/2, version/2, first/1]).

-export_type([digest/0]).

-type digest() :: {module(), file:filename(), MD5 :: binary()}.
-type failure() :: {error, {Kind :: atom(), map()}}.

%% @doc The file of a module.
-spec file(module()) -> {ok, file:filename()} | failure().
file(Module) ->
    case code:where_is_file(name(Module)) of
        non_existing -> loaded_from(Module, code:which(Module));
        File -> {ok, File}
    end.

loaded_from(Module, File) ->
    case is_list(File) andalso filelib:is_regular(File) of
        true -> {ok, File};
        false -> {error, {object_not_found, #{module => Module}}}
    end.

%% @doc The modules that an application names, as it is loaded, else as its .app file on the code
%% path says.
-spec app_modules(atom()) -> {ok, [module()]} | failure().
app_modules(App) ->
    case application:get_key(App, modules) of
        {ok, Modules} ->
            {ok, Modules};
        undefined ->
            case first(App) of
                {ok, _Ebin, Description} ->
                    {ok, bc_gitops_app_file:value(modules, Description, [])};
                none ->
                    {error, {app_not_found, #{app => App}}}
            end
    end.

%% @doc The files of modules: those in the directory, else each by itself. What has none is left
%% out.
-spec files([module()], file:filename() | none) -> [{module(), file:filename()}].
files(Modules, Ebin) ->
    [{Module, File} || Module <- Modules, File <- beside(Module, Ebin)].

beside(Module, Ebin) when Ebin =/= none ->
    File = filename:join(Ebin, name(Module)),
    case filelib:is_regular(File) of
        true -> [File];
        false -> beside(Module, none)
    end;
beside(Module, none) ->
    [File || {ok, File} <- [file(Module)]].

%% @doc The MD5s of the code in files.
-spec digests([{module(), file:filename()}]) -> {ok, [digest()]} | failure().
digests(Files) ->
    case bc_gitops_native:beam_scan([path(File) || {_, File} <- Files]) of
        {ok, Scanned} ->
            MD5s = maps:from_list([{Path, MD5} || {_, Path, MD5} <- Scanned]),
            {ok, [{Module, File, map_get(path(File), MD5s)} || {Module, File} <- Files]};
        {error, _} = Error ->
            Error
    end.

%% @doc Whether other code is loaded than the file has. A consolidated protocol of Elixir differs
%% from what the compiler wrote and is no change of it.
-spec is_changed(module(), file:filename(), MD5 :: binary()) -> boolean().
is_changed(Module, File, MD5) ->
    case bc_gitops_hot_code:md5(Module) of
        not_loaded -> false;
        {ok, MD5} -> false;
        {ok, _} -> not is_consolidated(Module, File)
    end.

is_consolidated(Module, File) ->
    filename:basename(filename:dirname(File)) =/= "consolidated"
        andalso erlang:function_exported(Module, '__protocol__', 1)
        andalso Module:'__protocol__'('consolidated?').

%% @doc The object code that is loaded, of those modules whose file is still somewhere: where it was
%% loaded from, in another directory of the application on the code path, or in the store.
-spec former(atom(), [module()]) -> #{module() => bc_gitops_hot_code:object()}.
former(App, Modules) ->
    From = [filename:dirname(File) || M <- Modules, File <- [code:which(M)], is_list(File)],
    Dirs = lists:usort(From ++ ebins(App)),
    maps:from_list([Kept || M <- Modules, Kept <- kept(M, Dirs)]).

kept(_Module, []) ->
    [];
kept(Module, [Dir | Dirs]) ->
    Loaded = bc_gitops_hot_code:md5(Module),
    case bc_gitops_hot_code:object(filename:join(Dir, name(Module))) of
        {ok, {_, Code} = Object} ->
            case {ok, code:module_md5(Code)} of
                Loaded -> [{Module, Object}];
                _ -> kept(Module, Dirs)
            end;
        {error, _} ->
            kept(Module, Dirs)
    end.

%% @doc Where a version of an application is: on the code path, or in the store.
-spec version(atom(), Version :: string()) ->
    {ok, Ebin :: file:filename(), bc_gitops_app_file:description()} | failure().
version(App, Version) ->
    Found = [{Ebin, Description, bc_gitops_app_file:value(vsn, Description, undefined)}
             || {Ebin, Description} <- described(App)],
    case [{Ebin, Description} || {Ebin, Description, Vsn} <- Found, Vsn =:= Version] of
        [{Ebin, Description} | _] ->
            {ok, Ebin, Description};
        [] ->
            There = [{Ebin, Vsn} || {Ebin, _, Vsn} <- Found],
            {error, {version_not_found, #{app => App, version => Version, found => There}}}
    end.

%% @doc Which directory of an application comes first on the code path.
-spec first(atom()) -> {ok, Ebin :: file:filename(), bc_gitops_app_file:description()} | none.
first(App) ->
    case described(App) of
        [{Ebin, Description} | _] -> {ok, Ebin, Description};
        [] -> none
    end.

described(App) ->
    [{Ebin, Description} || Ebin <- ebins(App), {ok, Description} <- [description(App, Ebin)]].

description(App, Ebin) ->
    case file:consult(filename:join(Ebin, atom_to_list(App) ++ ".app")) of
        {ok, [{application, App, Keys} = Description]} when is_list(Keys) -> {ok, Description};
        _ -> none
    end.

%% In the order of the code path.
ebins(App) ->
    File = atom_to_list(App) ++ ".app",
    [Dir || Dir <- code:get_path(), filelib:is_regular(filename:join(Dir, File))] ++ stored(App).

stored(App) ->
    case bc_gitops_runtime_table:lib(App) of
        {ok, #{lib := Lib, next := Next}} ->
            [filename:join(unicode:characters_to_list(Path), "ebin")
             || #{path := Path} <- [Lib, Next]];
        not_found ->
            []
    end.

name(Module) -> atom_to_list(Module) ++ ".beam".

path(File) -> unicode:characters_to_binary(File).
