%%% @doc What this node says when bc_gitops is not asked: OTP's own view of applications and code.
%%% The demo's claims are held against it.
-module(bcg_demo_node).

-export([versions/1, code/1, expected_code/3, stale_files/1, outside/2, paths/1]).

-type code() :: [{module(), MD5 :: binary()}].

%% @doc The versions of those of Apps that run.
-spec versions([atom()]) -> [{atom(), string()}].
versions(Apps) ->
    Running = application:which_applications(),
    [{App, Vsn} || App <- Apps, {Name, _, Vsn} <- Running, Name =:= App].

%% @doc All loaded modules of the sample application with the MD5 of the code that would be called.
-spec code(atom()) -> code().
code(App) ->
    lists:sort([{M, M:module_info(md5)} || {M, _} <- code:all_loaded(), belongs(App, M)]).

%% The samples name their modules APP, APP_… and Greeter….
belongs(App, Module) ->
    [First | _] = string:lexemes(atom_to_list(Module), "_."),
    case {First, string:lexemes(atom_to_list(Module), ".")} of
        {"Elixir", ["Elixir", Head | _]} -> string:lowercase(Head) =:= atom_to_list(App);
        _ -> First =:= atom_to_list(App)
    end.

%% @doc The same for sources `[{File, Text}]', compiled by the demo itself.
-spec expected_code(file:filename(), [{file:filename(), binary()}], term()) -> code().
expected_code(Dir, Sources, Label) ->
    Place = filename:join(Dir, io_lib:format("check-~p", [Label])),
    ok = filelib:ensure_path(Place),
    lists:sort([compiled(filename:join(Place, File), Text) || {File, Text} <- Sources]).

compiled(File, Text) ->
    ok = file:write_file(File, Text),
    {ok, Module, Beam} = compile:file(File, [binary, debug_info, deterministic]),
    {ok, {Module, MD5}} = beam_lib:md5(Beam),
    {Module, MD5}.

%% @doc The modules whose loaded code is not the code in the file they come from. A protocol is
%% loaded as it was consolidated with all implementations of the node: it has no file of its own.
-spec stale_files(code()) -> [module()].
stale_files(Code) ->
    [M || {M, MD5} <- Code, file_md5(M) =/= MD5, not is_consolidated(M)].

is_consolidated(Module) ->
    erlang:function_exported(Module, '__protocol__', 1) andalso
        Module:'__protocol__'('consolidated?').

file_md5(Module) ->
    case code:which(Module) of
        File when is_list(File) ->
            case beam_lib:md5(File) of
                {ok, {Module, MD5}} -> MD5;
                {error, beam_lib, Reason} -> Reason
            end;
        Other ->
            Other
    end.

%% @doc The modules that do not come from under Dir.
-spec outside(code(), file:filename()) -> [module()].
outside(Code, Dir) ->
    [M || {M, _} <- Code, not lists:prefix(Dir ++ "/", which(M))].

which(Module) ->
    case code:which(Module) of
        File when is_list(File) -> File;
        Other -> atom_to_list(Other)
    end.

%% @doc The directories on the code path that name the application.
-spec paths(atom()) -> [file:filename()].
paths(App) ->
    Name = atom_to_list(App),
    [Path || Path <- code:get_path(), Part <- filename:split(Path),
             hd(string:split(Part, "-")) =:= Name].
