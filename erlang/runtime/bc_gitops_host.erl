%%% @doc What belongs to the host: OTP, Elixir, the applications that the node's boot started,
%%% bc_gitops itself and what any of them needs. None of it is ever managed, stopped or replaced.
%%%
%%% "The host's" is what stands on the code path without being ours, and what runs without our
%%% having started it; `bc_gitops_runtime_table' knows what is ours.
-module(bc_gitops_host).

-export([protected/2, application/1, conflicts/2, missing/2, is_vital/1, content/1]).

-export_type([application/0]).

-type application() :: #{version := binary(), path := binary()}.

%% Besides the applications of OTP: those of Elixir.
-define(ALSO_PROTECTED, [eex, elixir, ex_unit, iex, logger, mix]).

%% Processes of the node that belong to no application.
-define(VITAL, [init, erl_prim_loader, logger, application_controller]).

%% @doc Why an application of this name may not be managed, if it may not. Running are the names of
%% the applications that run now.
-spec protected(atom(), Running :: [atom()]) ->
    {true, otp | started_by_host | needed_by_bc_gitops} | false.
protected(App, Running) ->
    case lists:member(App, bc_gitops_otp:applications() ++ ?ALSO_PROTECTED) of
        true ->
            {true, otp};
        false ->
            case lists:member(App, needs([bc_gitops], [])) of
                true -> {true, needed_by_bc_gitops};
                false -> started_by_host(App, Running)
            end
    end.

started_by_host(App, Running) ->
    case lists:member(App, Running) andalso not bc_gitops_runtime_table:is_ours(App) of
        true -> {true, started_by_host};
        false -> false
    end.

needs([], Seen) ->
    Seen;
needs([App | Rest], Seen) ->
    case lists:member(App, Seen) of
        true ->
            needs(Rest, Seen);
        false ->
            {ok, Direct} = get_key(App, applications),
            needs(Direct ++ Rest, [App | Seen])
    end.

get_key(App, Key) ->
    case application:get_key(App, Key) of
        {ok, Value} -> {ok, Value};
        undefined -> {ok, []}
    end.

%% @doc The application of this name on the host's own code path.
-spec application(atom()) -> {ok, application()} | not_found.
application(App) ->
    case code:where_is_file(atom_to_list(App) ++ ".app") of
        non_existing ->
            not_found;
        File ->
            Path = unicode:characters_to_binary(filename:dirname(filename:dirname(File))),
            case bc_gitops_runtime_table:is_our_path(Path) of
                true -> not_found;
                false -> {ok, #{path => Path, version => version(Path, App)}}
            end
    end.

version(Path, App) ->
    case bc_gitops_app_file:read(Path, App) of
        {ok, Description} ->
            unicode:characters_to_binary(bc_gitops_app_file:value(vsn, Description, ""));
        {error, _} ->
            <<>>
    end.

%% @doc The MD5 of each module in the ebin directory of an application. Modules are named as
%% binaries: reading a directory must not create atoms.
-spec content(file:filename_all()) -> {ok, #{binary() => bc_gitops_code:md5()}} | {error, term()}.
content(Path) ->
    case bc_gitops_native:beam_scan([ebin(unicode:characters_to_binary(Path))]) of
        {ok, Found} -> {ok, maps:from_list([{Module, MD5} || {Module, _File, MD5} <- Found])};
        {error, _} = Error -> Error
    end.

%% @doc Modules that the host has under the same name, with the place where it has them. Ours are
%% all libraries that we put on the code path.
-spec conflicts([module()], Ours :: [bc_gitops_code:lib()]) -> [{module(), file:filename_all()}].
conflicts(Modules, Ours) ->
    Paths = maps:from_list([{ebin(Path), true} || #{path := Now} = Lib <- Ours,
                                                  Path <- [Now | maps:get(formerly, Lib, [])]]),
    Index = index([Dir || Dir <- code:get_path(),
                          not is_map_key(unicode:characters_to_binary(Dir), Paths)]),
    [{Module, Where} || Module <- Modules, Where <- where(Module, Index, Paths)].

ebin(Path) ->
    filename:join(Path, <<"ebin">>).

where(Module, Index, Paths) ->
    case Index of
        #{Module := Dir} -> [Dir];
        _ -> [File || {file, File} <- [code:is_loaded(Module)], not is_in(File, Paths)]
    end.

is_in(File, Paths) when is_list(File) ->
    is_map_key(unicode:characters_to_binary(filename:dirname(File)), Paths);
is_in(_PreloadedOrCoverCompiled, _Paths) ->
    false.

index(Dirs) ->
    lists:foldl(fun index_dir/2, #{}, Dirs).

index_dir(Dir, Index) ->
    case erl_prim_loader:list_dir(Dir) of
        {ok, Files} -> lists:foldl(fun(File, Acc) -> index_file(Dir, File, Acc) end, Index, Files);
        error -> Index
    end.

%% Only names that exist as atoms can be asked for.
index_file(Dir, File, Index) ->
    case filename:extension(File) of
        ".beam" ->
            try list_to_existing_atom(filename:basename(File, ".beam")) of
                Module when is_map_key(Module, Index) -> Index;
                Module -> Index#{Module => Dir}
            catch
                error:badarg -> Index
            end;
        _ ->
            Index
    end.

%% @doc Applications that are needed, are not optional, and are neither on the code path nor among
%% the descriptions of the build.
-spec missing(atom(), #{atom() => bc_gitops_app_file:description()}) -> [atom()].
missing(App, Descriptions) ->
    Needed = maps:fold(
        fun(_Name, Description, Acc) ->
            {Required, _Optional} = bc_gitops_app_file:needs(Description),
            Required ++ bc_gitops_app_file:includes(Description) ++ Acc
        end,
        [],
        maps:with(bc_gitops_app_file:start_order(App, Descriptions), Descriptions)
    ),
    [Name || Name <- lists:usort(Needed),
             not is_map_key(Name, Descriptions), not is_available(Name)].

is_available(App) ->
    application:get_key(App, vsn) =/= undefined
        orelse code:where_is_file(atom_to_list(App) ++ ".app") =/= non_existing.

%% @doc Whether the node or bc_gitops cannot do without a process: purging code never kills one of
%% these.
-spec is_vital(pid()) -> boolean().
is_vital(Pid) ->
    case application:get_application(Pid) of
        {ok, App} -> lists:member(App, [kernel, stdlib, sasl, bc_gitops]);
        undefined -> lists:member(Pid, [whereis(Name) || Name <- ?VITAL])
    end.
