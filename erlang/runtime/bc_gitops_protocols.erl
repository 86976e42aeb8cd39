%%% @doc Keeps Elixir's consolidated protocols right for several applications in one VM.
%%%
%%% A build consolidates each protocol over the implementations it knows, so that two such
%%% applications break each other. Here each protocol touched by an application that comes or goes
%%% is consolidated anew, from its own beam file, over the implementations on the host's and on our
%%% code paths. A protocol without debug information cannot be: it is used as compiled, which finds
%%% implementations by name and is only slower.
-module(bc_gitops_protocols).

-export([touched/1, rebuild/2, is_consolidated/3]).

%% A record of what was consolidated from which compiled module, as MD5s.
-define(CONSOLIDATED(Protocol), {?MODULE, Protocol}).

%% @doc The protocols that loaded modules define or implement.
-spec touched([module()]) -> [module()].
touched(Modules) ->
    lists:usort([Protocol || Module <- Modules, is_elixir(Module), erlang:module_loaded(Module),
                             Protocol <- protocol(Module)]).

is_elixir(Module) ->
    lists:prefix("Elixir.", atom_to_list(Module)).

protocol(Module) ->
    Attributes = erlang:get_module_info(Module, attributes),
    case Attributes of
        false -> [];
        _ ->
            Impl = proplists:get_value('__impl__', Attributes, []),
            [Module || lists:keymember('__protocol__', 1, Attributes)]
                ++ [Protocol || {protocol, Protocol} <- Impl]
    end.

%% @doc Consolidates the protocols that are loaded. Without Elixir in the VM there is nothing to do.
-spec rebuild([module()], timeout()) -> ok | {error, {protocol_failed, map()}}.
rebuild([], _Timeout) ->
    ok;
rebuild(Protocols, Timeout) ->
    bc_gitops_switches:locked(protocols, fun() ->
        case code:ensure_loaded('Elixir.Protocol') of
            {module, _} -> rebuild_each(Protocols, elixir_dirs(), Timeout);
            {error, _} -> ok
        end
    end).

rebuild_each([], _Dirs, _Timeout) ->
    ok;
rebuild_each([Protocol | Rest], Dirs, Timeout) ->
    Work = fun() -> consolidate(Protocol, Dirs) end,
    case bc_gitops_app_control:with_deadline(Work, Timeout, #{protocol => Protocol}) of
        {ok, ok} -> rebuild_each(Rest, Dirs, Timeout);
        {ok, {error, Reason}} -> failed(#{protocol => Protocol, reason => Reason});
        {error, {Kind, Details}} -> failed(Details#{kind => Kind})
    end.

failed(Details) ->
    {error, {protocol_failed, Details}}.

%% `Protocol.consolidate/2' reads the file that `code:which/1' names, so the protocol must be
%% loaded from the file that the compiler wrote; a host's release has the consolidated one loaded.
consolidate(Protocol, Dirs) ->
    case compiled_file(Protocol, Dirs) of
        {ok, File} ->
            case is_open(Protocol, File) of
                true -> ok;
                false -> consolidate(Protocol, File, Dirs)
            end;
        not_found ->
            ok
    end.

consolidate(Protocol, File, Dirs) ->
    case {as_compiled(Protocol, File), has_debug_info(File)} of
        {ok, true} -> load_consolidated(Protocol, File, elixir(extract_impls, [Protocol, Dirs]));
        {ok, false} -> ok;
        {{error, _} = Error, _} -> Error
    end.

%% Releases of mix are stripped of it, and Elixir 1.14 crashes on such a file.
has_debug_info(File) ->
    case beam_lib:chunks(File, [debug_info], [allow_missing_chunks]) of
        {ok, {_, [{debug_info, Info}]}} -> Info =/= missing_chunk;
        {error, beam_lib, _} -> false
    end.

%% A protocol of a host that does not consolidate, as in development, finds implementations by name,
%% also those that are defined while it runs: it is left as it is.
is_open(Protocol, File) ->
    Path = unicode:characters_to_binary(filename:dirname(filename:dirname(File))),
    not bc_gitops_runtime_table:is_our_path(Path)
        andalso code:ensure_loaded(Protocol) =:= {module, Protocol}
        andalso not Protocol:'__protocol__'('consolidated?').

%% Elixir is not there when this is compiled, and perhaps never.
elixir(Function, Arguments) ->
    apply('Elixir.Protocol', Function, Arguments).

compiled_file(Protocol, Dirs) ->
    Name = atom_to_list(Protocol) ++ ".beam",
    case [File || Dir <- Dirs, File <- [filename:join(Dir, Name)], filelib:is_regular(File)] of
        [File | _] -> {ok, File};
        [] -> not_found
    end.

as_compiled(Protocol, File) ->
    case code:which(Protocol) of
        File ->
            ok;
        _ ->
            {ok, Code} = file:read_file(File),
            load(Protocol, File, Code)
    end.

load_consolidated(Protocol, File, Types) ->
    case elixir(consolidate, [Protocol, Types]) of
        {ok, Code} ->
            {ok, {Protocol, Source}} = beam_lib:md5(File),
            persistent_term:put(?CONSOLIDATED(Protocol), {Source, code:module_md5(Code)}),
            load(Protocol, File, Code);
        {error, no_beam_info} ->
            ok;
        {error, Reason} ->
            {error, Reason}
    end.

%% Dispatch leaves the protocol at once, so nobody stays in its old code.
load(Protocol, File, Code) ->
    _ = code:soft_purge(Protocol),
    case code:load_binary(Protocol, File, Code) of
        {module, Protocol} ->
            _ = code:soft_purge(Protocol),
            ok;
        {error, Reason} ->
            {error, Reason}
    end.

%% Directories of consolidated protocols are left out: what they hold is made anew here.
elixir_dirs() ->
    [Dir || Dir <- code:get_path(), filename:basename(Dir) =/= "consolidated", has_elixir(Dir)].

has_elixir(Dir) ->
    case erl_prim_loader:list_dir(Dir) of
        {ok, Files} -> lists:any(fun(File) -> lists:prefix("Elixir.", File) end, Files);
        error -> false
    end.

%% @doc Compares a loaded module that is not as in its manifest with what was consolidated from it.
-spec is_consolidated(module(), bc_gitops_code:md5(), bc_gitops_code:md5()) -> ok | different.
is_consolidated(Module, Manifest, Loaded) ->
    case persistent_term:get(?CONSOLIDATED(Module), none) of
        {Manifest, Loaded} -> ok;
        _ -> different
    end.
