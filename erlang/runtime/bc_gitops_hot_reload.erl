%%% @doc New code for modules and applications that run, by hand.
%%%
%%% No process is ended for the code it runs. Three ways: `reload_module/1' and `reload_modules/1'
%%% put code in the place of code, for modules without state; `reload_changed_modules/1' finds what
%%% was built anew and has processes change their states with `code_change'; `upgrade_app/3' does
%%% that for another version, with its .app file and its environment. The latter two happen
%%% completely or not at all: after an error the old code runs on with the old states, save for
%%% `not_undone', after which the application has to be restarted. That is so when a process does
%%% not answer, and when a change fails whose former object code is nowhere kept (its files were
%%% overwritten in place, and neither the code path nor the store has it elsewhere). Also then
%%% nobody is left suspended.
%%%
%%% Modules that cannot be replaced while they run are answered with `not_hot' and the reason of
%%% each: `sticky', `preloaded', `cover_compiled', `nif' or `on_load'. Works without bc_gitops being
%%% started.
-module(bc_gitops_hot_reload).

-export([reload_module/1, reload_modules/1, reload_changed_modules/1, upgrade_app/3]).
-export([module_changed/1, get_app_modules/1, get_module_beam_hash/1]).

-type version() :: string() | binary().
-type failure() :: {error, {Kind :: atom(), Details :: map()}}.

%% @doc Loads the code of a module from its file. When processes still run code of it that was
%% replaced earlier nothing is loaded, and `old_code_in_use' names them.
-spec reload_module(module()) -> {ok, module()} | failure().
reload_module(Module) when is_atom(Module) ->
    case reload_modules([Module]) of
        {ok, [Module]} -> {ok, Module};
        {error, _} = Error -> Error
    end.

%% @doc The same for several: all of them, at once, or none.
-spec reload_modules([module()]) -> {ok, [module()]} | failure().
reload_modules(Modules) when is_list(Modules) ->
    case objects(Modules) of
        {ok, Objects} -> replace(Modules, Objects);
        {error, _} = Error -> Error
    end.

%% @doc Takes over what was built anew: modules whose files differ from what is loaded, and those
%% that the .app file names for the first time. Processes of changed modules that export
%% `code_change' change their states.
-spec reload_changed_modules(App :: atom()) -> {ok, [module()]} | failure().
reload_changed_modules(App) when is_atom(App) ->
    alone(App, fun() -> bc_gitops_hot_change:built_anew(App) end).

%% @doc Upgrades an application that runs with version OldVsn to NewVsn, whose directory is on the
%% code path (behind the old one or in its place) or in the store. Versions are strings or binaries.
%% An appup for exactly these versions decides how; going back that of the version that runs.
-spec upgrade_app(App :: atom(), OldVsn :: version(), NewVsn :: version()) -> ok | failure().
upgrade_app(App, OldVsn, NewVsn) when is_atom(App) ->
    {Old, New} = {text(OldVsn), text(NewVsn)},
    alone(App, fun() -> bc_gitops_hot_change:another_version(App, Old, New) end).

%% @doc Whether the code that is loaded is another than that of the module's file. `false' when
%% either is missing.
-spec module_changed(module()) -> boolean().
module_changed(Module) when is_atom(Module) ->
    case bc_gitops_hot_files:digests(bc_gitops_hot_files:files([Module], none)) of
        {ok, [{Module, File, MD5}]} -> bc_gitops_hot_files:is_changed(Module, File, MD5);
        _ -> false
    end.

%% @doc The modules of an application that is loaded or on the code path.
-spec get_app_modules(App :: atom()) -> {ok, [module()]} | failure().
get_app_modules(App) when is_atom(App) ->
    bc_gitops_hot_files:app_modules(App).

%% @doc The MD5 of the object code in a module's file, 16 bytes, as `Module:module_info(md5)' has it
%% of what is loaded.
-spec get_module_beam_hash(module()) -> {ok, binary()} | failure().
get_module_beam_hash(Module) when is_atom(Module) ->
    case bc_gitops_hot_files:file(Module) of
        {ok, File} -> bc_gitops_native:beam_md5(unicode:characters_to_binary(File));
        {error, _} = Error -> Error
    end.

%%% Code in the place of code

objects(Modules) ->
    lists:foldl(fun add_object/2, {ok, #{}}, Modules).

add_object(Module, {ok, Objects}) when is_atom(Module) ->
    case bc_gitops_hot_code:look([Module], #{}) of
        ok -> with_object(Module, bc_gitops_hot_files:file(Module), Objects);
        {error, _} = Error -> Error
    end;
add_object(_Module, {error, _} = Error) ->
    Error.

with_object(Module, {ok, File}, Objects) ->
    case bc_gitops_hot_code:object(File) of
        {ok, Object} -> {ok, Objects#{Module => Object}};
        {error, _} = Error -> Error
    end;
with_object(_Module, {error, _} = Error, _Objects) ->
    Error.

%% What is not loaded yet comes as a call of it would bring it; nobody runs it.
replace(Modules, Objects) ->
    {Loaded, Fresh} = lists:partition(fun erlang:module_loaded/1, lists:usort(Modules)),
    Present = maps:with(Loaded, Objects),
    case ready(Loaded, Present) of
        {ok, Prepared} ->
            Expected = [{M, Code} || {M, {_, Code}} <- maps:to_list(Present)],
            case load_fresh([{M, map_get(M, Objects)} || M <- Fresh]) of
                ok -> loaded(Modules, bc_gitops_hot_code:load(Prepared, Expected, []));
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

ready(Loaded, Objects) ->
    case bc_gitops_hot_code:look(Loaded, Objects) of
        ok ->
            case bc_gitops_hot_code:prepare(Objects) of
                {ok, Prepared} -> cleared(Prepared, bc_gitops_hot_code:clear(Loaded, false));
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

cleared(Prepared, ok) ->
    {ok, Prepared};
cleared(_Prepared, {later, Held}) ->
    {error, {old_code_in_use, #{modules => Held,
                                processes => bc_gitops_hot_processes:using(Held)}}}.

load_fresh([]) ->
    ok;
load_fresh([{Module, {File, Code}} | Rest]) ->
    case code:load_binary(Module, File, Code) of
        {module, Module} -> load_fresh(Rest);
        {error, Reason} -> {error, {load_failed, #{modules => [{Module, Reason}]}}}
    end.

loaded(Modules, ok) ->
    tell(fun bc_gitops_runtime_events:loaded/2, Modules),
    {ok, Modules};
loaded(_Modules, {error, _} = Error) ->
    Error.

tell(Event, Modules) ->
    Of = fun(Module) ->
        case application:get_application(Module) of
            {ok, App} -> App;
            undefined -> undefined
        end
    end,
    Apps = maps:groups_from_list(Of, Modules),
    maps:foreach(Event, Apps).

%%% In turn

%% One change of an application at a time, and none during a switch of it.
alone(App, Fun) ->
    case whereis(bc_gitops_switches) of
        undefined -> global:trans({{?MODULE, App}, self()}, Fun, [node()]);
        _ -> bc_gitops_switches:run(App, fun(_Proceed) -> Fun() end)
    end.

text(Version) when is_binary(Version); is_list(Version) ->
    unicode:characters_to_list(Version).
