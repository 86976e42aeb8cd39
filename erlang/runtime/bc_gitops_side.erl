%%% @doc One side of a switch: an application with the dependencies that change with it, as it
%%% comes and as it goes. What is done here is undone by doing the opposite with the same side.
-module(bc_gitops_side).

-include_lib("kernel/include/logger.hrl").

-export([make/4, bare/2, descriptions/1]).
-export([bring_up/2, bring_code/2, bring_dependencies/3, take_down/2, remove/2]).
-export([modules/1, is_on_host/1, stop_order/1]).

-import(bc_gitops_steps, [steps/1, each/2]).

-export_type([side/0, timeouts/0]).

-type timeouts() :: #{stop := timeout(), start := timeout()}.
-type failure() :: {error, {Kind :: atom(), term()}}.
-type descriptions() :: #{atom() => bc_gitops_app_file:description()}.
-type side() :: #{
    app := atom(),
    libs := [bc_gitops_code:lib()],               % in dependency order
    code := bc_gitops_code:prepared() | none,     % none: it can only go
    descriptions := descriptions(),
    start := [atom()],
    spec_env := map(),
    host_env := map(),                            % set by somebody before it was first loaded
    gone := [module()]                            % code of what went before, in the VM still
}.

%% Answers of the application controller for which no application's code runs.
-define(CONTROLLER_TIMEOUT, 10000).

%% @doc A side that can come: all its code is read, compared with its manifest and prepared.
-type envs() :: #{spec_env := map(), host_env := map()}.
-spec make(atom(), [bc_gitops_code:lib()], descriptions(), envs()) ->
    {ok, side()} | failure().
make(App, Libs, Descriptions, Envs) ->
    case bc_gitops_code:prepare([Lib || Lib <- Libs, not is_on_host(Lib)]) of
        {ok, Code} ->
            Start = bc_gitops_app_file:start_order(App, Descriptions),
            Known = Envs#{code => Code, descriptions => Descriptions, start => Start},
            {ok, maps:merge(bare(App, Libs), Known)};
        {error, _} = Error ->
            Error
    end.

%% @doc A side that can only go.
-spec bare(atom(), [bc_gitops_code:lib()]) -> side().
bare(App, Libs) ->
    #{app => App, libs => Libs, code => none, descriptions => #{}, start => [], spec_env => #{},
      host_env => #{}, gone => []}.

%% @doc Reads the .app files.
-spec descriptions([bc_gitops_code:lib()]) -> {ok, descriptions()} | failure().
descriptions(Libs) ->
    lists:foldl(
        fun
            (#{name := Name, path := Path}, {ok, Read}) ->
                add(Name, bc_gitops_app_file:read(Path, Name), Read);
            (_, Error) ->
                Error
        end,
        {ok, #{}},
        Libs
    ).

add(Name, {ok, Description}, Read) -> {ok, Read#{Name => Description}};
add(_Name, {error, _} = Error, _Read) -> Error.

%%% Going

%% @doc Stops and unloads the applications and hides their code from the code path. It stays in the VM:
%% answers the modules, which are replaced by those of what comes.
-spec take_down(side(), timeouts()) -> {ok, [module()]} | failure().
take_down(#{app := App, libs := Libs}, #{stop := Timeout}) ->
    OurLibs = [Lib || Lib <- Libs, not is_on_host(Lib)],
    Stop = fun(#{name := Name}) -> stop(App, Name, Timeout) end,
    Hide = fun(#{path := Path}) -> bc_gitops_code:delete_path(Path) end,
    case steps([fun() -> each(lists:reverse(Libs), Stop) end, fun() -> each(OurLibs, Hide) end]) of
        ok -> {ok, lists:usort(modules(OurLibs))};
        {error, _} = Error -> Error
    end.

%% @doc Takes down what nothing comes in place of; its code leaves the VM.
-spec remove(side(), timeouts()) -> ok | failure().
remove(#{app := App} = Side, #{start := Timeout} = Timeouts) ->
    case take_down(Side, Timeouts) of
        {ok, Modules} ->
            Touched = bc_gitops_protocols:touched(Modules),
            steps([
                fun() -> bc_gitops_code:unload(App, Modules) end,
                fun() -> bc_gitops_runtime_events:purged(App, Modules) end,
                fun() -> bc_gitops_protocols:rebuild(Touched, Timeout) end
            ]);
        {error, _} = Error ->
            Error
    end.

stop(App, Name, Timeout) ->
    Stop = fun() -> bc_gitops_app_control:stop(Name, Timeout) end,
    case bc_gitops_logger_guard:around(Name, Stop) of
        {ok, killed} ->
            ?LOG_WARNING("~p did not stop within ~b ms and was killed", [Name, Timeout],
                         #{application => bc_gitops, app => App}),
            bc_gitops_app_control:unload(Name, ?CONTROLLER_TIMEOUT);
        {ok, _} ->
            bc_gitops_app_control:unload(Name, ?CONTROLLER_TIMEOUT);
        {error, _} = Error ->
            Error
    end.

%%% Coming

%% @doc Loads the code and the applications, sets the environment, starts, and compares what is
%% loaded with the manifests. Answers the environment without the spec, and what of it was set by
%% hand.
-spec bring_up(side(), timeouts()) -> {ok, #{base := map(), by_hand := map()}} | failure().
bring_up(#{app := App, host_env := HostEnv} = Side, Timeouts) ->
    case steps([fun() -> bring_code(Side, Timeouts) end, fun() -> load_apps(Side) end]) of
        ok ->
            ByHand = bc_gitops_app_env:set_by_hand(HostEnv, bc_gitops_app_env:all(App)),
            Base = maps:merge(bc_gitops_app_env:all(App), ByHand),
            run(Side, #{base => Base, by_hand => ByHand}, Timeouts);
        {error, _} = Error ->
            Error
    end.

run(#{app := App, libs := Libs, spec_env := SpecEnv} = Side, #{base := Base} = Envs, Timeouts) ->
    Started = steps([
        fun() -> bc_gitops_app_env:apply(App, Base, SpecEnv, ?CONTROLLER_TIMEOUT) end,
        fun() -> start_apps(Side, Timeouts) end,
        fun() -> bc_gitops_code:verify(Libs) end
    ]),
    case Started of
        ok -> {ok, Envs};
        {error, _} = Error -> Error
    end.

%% @doc Puts the code on the path and into the VM, in place of what went before, and consolidates the
%% protocols that either touches.
-spec bring_code(side(), timeouts()) -> ok | failure().
bring_code(#{app := App, libs := Libs, code := Code, gone := Gone}, #{start := Timeout}) ->
    {OnHost, OurLibs} = lists:partition(fun is_on_host/1, Libs),
    Coming = modules(OurLibs),
    Change = #{app => App, gone => Gone, coming => Coming,
               dirs => [Path || #{path := Path} <- OurLibs]},
    Touched = bc_gitops_protocols:touched(Gone),
    steps([
        fun() -> load_from_host(OnHost) end,
        fun() -> bc_gitops_code:replace(Code, Change, Timeout) end,
        fun() -> consolidate(Touched, Coming, Timeout) end,
        fun() -> bc_gitops_runtime_events:purged(App, Gone) end,
        fun() -> bc_gitops_runtime_events:loaded(App, Coming) end,
        fun() -> bc_gitops_code:verify(Libs) end
    ]).

load_from_host(Libs) ->
    case code:ensure_modules_loaded(modules(Libs)) of
        ok -> ok;
        {error, Reason} -> {error, {load_failed, #{modules => Reason}}}
    end.

consolidate(Touched, Modules, Timeout) ->
    All = lists:usort(Touched ++ bc_gitops_protocols:touched(Modules)),
    bc_gitops_protocols:rebuild(All, Timeout).

%% @doc Loads the applications of a side of dependencies, and starts what the application needs of
%% them and of others; those that change with the application come with it.
-spec bring_dependencies(side(), side(), timeouts()) -> ok | failure().
bring_dependencies(Side, #{start := Start, libs := Changing}, Timeouts) ->
    Names = Start -- [Name || #{name := Name} <- Changing],
    steps([fun() -> load_apps(Side) end, fun() -> start_apps(Side#{start := Names}, Timeouts) end]).

%% What was loaded before, of an older version or by the host, gives way.
load_apps(#{app := App, libs := Libs, descriptions := Descriptions}) ->
    each(Libs, fun(#{name := Name}) ->
        Description = maps:get(Name, Descriptions),
        steps([
            fun() -> bc_gitops_app_control:unload(Name, ?CONTROLLER_TIMEOUT) end,
            %% What somebody set before it was loaded is still there; loading would mix it in.
            fun() -> clear_env(App, Name) end,
            fun() -> bc_gitops_app_control:load(Description, ?CONTROLLER_TIMEOUT) end
        ])
    end).

clear_env(App, App) -> bc_gitops_app_env:put_back(App, #{}, ?CONTROLLER_TIMEOUT);
clear_env(_App, _Dependency) -> ok.

start_apps(#{start := Start} = Side, Timeouts) ->
    each(Start, fun(Name) -> start_app(Name, Side, Timeouts) end).

start_app(Name, #{app := App, descriptions := Descriptions}, #{start := Timeout}) ->
    {Required, Optional} = bc_gitops_app_file:needs(maps:get(Name, Descriptions)),
    OfHost = [Need || Need <- Required, not is_map_key(Need, Descriptions)],
    Present = [Need || Need <- Optional, not is_map_key(Need, Descriptions),
                       application:get_key(Need, vsn) =/= undefined],
    StartNeeded = fun(Need) -> start_of_host(App, Need, Timeout) end,
    bc_gitops_logger_guard:around(Name, fun() ->
        steps([
            fun() -> each(OfHost ++ Present, StartNeeded) end,
            fun() -> bc_gitops_app_control:start(Name, Timeout) end
        ])
    end).

start_of_host(App, Need, Timeout) ->
    Start = fun() -> application:ensure_all_started(Need, temporary) end,
    case bc_gitops_app_control:with_deadline(Start, Timeout, #{app => App, dependency => Need}) of
        {ok, {ok, _Started}} -> ok;
        {ok, {error, Reason}} ->
            {error, {dependency_not_started, #{app => App, dependency => Need, reason => Reason}}};
        {error, {Kind, Details}} ->
            ok = bc_gitops_app_control:abandon(Need),
            {error, {dependency_not_started, Details#{kind => Kind}}}
    end.

%%% Libraries

-spec modules([bc_gitops_code:lib()]) -> [module()].
modules(Libs) ->
    lists:append([maps:keys(Modules) || #{modules := Modules} <- Libs]).

%% @doc Whether the files are the host's own: then its code is neither loaded over nor removed.
-spec is_on_host(bc_gitops_code:lib()) -> boolean().
is_on_host(Lib) ->
    maps:get(on_host, Lib, false).

%% @doc Dependencies before what needs them, as the loaded applications say.
-spec stop_order([bc_gitops_code:lib()]) -> [bc_gitops_code:lib()].
stop_order(Libs) ->
    Descriptions = maps:from_list([{Name, loaded_description(Name)} || #{name := Name} <- Libs]),
    Order = lists:foldl(
        fun(Name, Acc) -> Acc ++ (bc_gitops_app_file:start_order(Name, Descriptions) -- Acc) end,
        [],
        maps:keys(Descriptions)
    ),
    [Lib || Name <- Order, #{name := LibName} = Lib <- Libs, LibName =:= Name].

loaded_description(App) ->
    case application:get_all_key(App) of
        {ok, Keys} -> {application, App, Keys};
        undefined -> {application, App, []}
    end.
