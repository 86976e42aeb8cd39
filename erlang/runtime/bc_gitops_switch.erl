%%% @doc Brings an application from what runs to another build of it, or away, with full undo.
%%%
%%% The order: look whether it can be done at all (nothing has changed when it cannot); read and prepare
%%% all code, old and new; bring up new dependencies beside what runs; then take the old side down and
%%% bring the new side up. A side is the application with the dependencies that change with it. If the
%%% new side does not come up, it is taken down and the old one brought up again.
-module(bc_gitops_switch).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([to/4, away/2]).

-export_type([timeouts/0, build/0]).

-type timeouts() :: #{stop := timeout(), start := timeout()}.
-type build() :: #{key := binary(), version := binary(), path := binary(),
                   libs := [bc_gitops_code:lib()], _ => _}.
-type failure() :: {error, {Kind :: atom(), term()}}.
-type side() :: #{
    app := atom(),
    libs := [bc_gitops_code:lib()],                        % in dependency order
    code := bc_gitops_code:prepared() | damaged,
    descriptions := #{atom() => bc_gitops_app_file:description()},
    start := [atom()],
    spec_env := map() | undefined,                          % undefined: not the managed application's side
    host_env := map(),
    touched := [module()]
}.

%% Answers of the application controller for which no application's code runs.
-define(CONTROLLER_TIMEOUT, 5000).

%% @doc Makes Build of the application run with the environment of its spec.
-spec to(#app_spec{}, build(), timeouts(), bc_gitops_switches:proceed()) ->
    {ok, bc_gitops_runtime_table:entry()} | failure().
to(#app_spec{name = App} = Spec, Build, Timeouts, Proceed) ->
    Old = bc_gitops_runtime_table:find(App),
    Begin = fun() -> begin_switch(Spec, Build, Old, Timeouts) end,
    case bc_gitops_switches:locked(libs, Begin) of
        {ok, Switch} -> bring_dependencies(Switch, Proceed);
        {error, _} = Error -> Error
    end.

%%% Before anything changes

begin_switch(#app_spec{name = App} = Spec, #{libs := Libs} = Build, Old, Timeouts) ->
    Table = bc_gitops_runtime_table:libs(),
    steps(#{app => App, spec => Spec, build => Build, previous => Old, timeouts => Timeouts, table => Table}, [
        fun check_protected/1,
        fun(Switch) -> with(plan, bc_gitops_shared_libs:plan(App, Libs, Table), Switch) end,
        fun read_descriptions/1,
        fun check_missing/1,
        fun check_modules/1,
        fun prepare_sides/1,
        fun claim/1,
        fun load_dependencies/1
    ]).

steps(Switch, []) ->
    {ok, Switch};
steps(Switch, [Step | Rest]) ->
    case Step(Switch) of
        {ok, Next} -> steps(Next, Rest);
        {error, _} = Error -> Error
    end.

with(Key, {ok, Value}, Switch) -> {ok, Switch#{Key => Value}};
with(_Key, {error, _} = Error, _Switch) -> Error.

check_protected(#{app := App, build := Build} = Switch) ->
    case bc_gitops_app_control:running(?CONTROLLER_TIMEOUT) of
        {ok, Running} ->
            case bc_gitops_host:protected(App, Running) of
                false -> {ok, Switch};
                {true, Why} ->
                    {error, {protected_application, #{app => App, reason => Why, version => maps:get(version, Build)}}}
            end;
        {error, _} = Error ->
            Error
    end.

read_descriptions(#{plan := #{host := Host, keep := Keep, add := Add, new := New}} = Switch) ->
    with(descriptions, descriptions(Host ++ Keep ++ Add ++ New), Switch).

descriptions(Libs) ->
    lists:foldl(
        fun
            (#{name := Name, path := Path}, {ok, Read}) ->
                with(Name, bc_gitops_app_file:read(Path, Name), Read);
            (_, Error) ->
                Error
        end,
        {ok, #{}},
        Libs
    ).

check_missing(#{app := App, descriptions := Descriptions} = Switch) ->
    case bc_gitops_host:missing(App, Descriptions) of
        [] -> {ok, Switch};
        Missing -> {error, {missing_applications, Missing}}
    end.

check_modules(#{app := App, plan := #{add := Add, old := Old, new := New, stale := Stale}} = Switch) ->
    Modules = [Module || Lib <- Add ++ New, not is_on_host(Lib), Module <- maps:keys(maps:get(modules, Lib))],
    case bc_gitops_host:conflicts(Modules, [Path || #{path := Path} <- Stale ++ Old ++ Add ++ New]) of
        [] -> {ok, Switch};
        Conflicts -> {error, {module_conflict, #{app => App, modules => Conflicts}}}
    end.

prepare_sides(#{plan := #{add := Add, new := New}, spec := #app_spec{env = Env}, descriptions := Descriptions} = Switch) ->
    steps(Switch, [
        fun(S) -> with(added, side(S, Add, Descriptions, undefined), S) end,
        fun(S) -> with(new, side(S, New, Descriptions, Env), S) end,
        fun(S) -> {ok, S#{old => old_side(S)}} end
    ]).

side(#{app := App, previous := Previous}, Libs, Descriptions, Env) ->
    case bc_gitops_code:prepare([Lib || Lib <- Libs, not is_on_host(Lib)]) of
        {ok, Code} ->
            {ok, #{app => App, libs => Libs, code => Code, descriptions => Descriptions, spec_env => Env,
                   start => bc_gitops_app_file:start_order(App, Descriptions),
                   host_env => host_env(App, Previous), touched => []}};
        {error, _} = Error ->
            Error
    end.

host_env(_App, {ok, #{host_env := Env}}) -> Env;
host_env(App, not_found) -> bc_gitops_app_env:all(App).

%% What runs can only be brought up again from its files. If they are gone, going forward is all there
%% is left: the log says so beforehand.
old_side(#{app := App, previous := Previous, plan := #{old := Old, keep := Keep, host := Host}} = Switch) ->
    Env = case Previous of
        {ok, #{spec := #app_spec{env = SpecEnv}}} -> SpecEnv;
        not_found -> #{}
    end,
    Prepared = case descriptions(Host ++ Keep ++ Old) of
        {ok, Descriptions} -> side(Switch, Old, Descriptions, Env);
        {error, _} = Error -> Error
    end,
    case Prepared of
        {ok, Side} ->
            Side#{touched := bc_gitops_protocols:touched(modules(Old))};
        {error, Reason} ->
            ?LOG_WARNING("~p: the files of the version that runs are damaged, it could not be brought back: ~p",
                         [App, Reason], #{domain => [bc_gitops], app => App}),
            #{app => App, libs => Old, code => damaged, descriptions => #{}, start => [], spec_env => Env,
              host_env => host_env(App, Previous), touched => []}
    end.

claim(#{app := App, plan := Plan, table := Table} = Switch) ->
    Claim = bc_gitops_shared_libs:claim(App, Plan),
    ok = bc_gitops_runtime_table:set_libs(Claim(Table)),
    {ok, Switch}.

%% New dependencies are loaded under the lock: the next switch finds them complete.
load_dependencies(#{added := Added, timeouts := Timeouts} = Switch) ->
    case bring_code(Added, Timeouts) of
        ok -> {ok, Switch};
        {error, _} = Error -> without_locks(Switch, Error)
    end.

%%% The switch

bring_dependencies(#{added := Added, new := New, timeouts := Timeouts} = Switch, Proceed) ->
    Dependencies = Added#{start := dependencies_to_start(New)},
    Up = steps_ok([fun() -> load_apps(Added) end, fun() -> start_apps(Dependencies, Timeouts) end]),
    case Up of
        ok ->
            case Proceed() of
                true -> swap(Switch);
                false -> abandon(Switch, {error, {cancelled, #{app => maps:get(app, Switch)}}})
            end;
        {error, _} = Error ->
            abandon(Switch, Error)
    end.

%% Those that change with the application come later, with it.
dependencies_to_start(#{start := Start, libs := Changing}) ->
    Start -- [Name || #{name := Name} <- Changing].

swap(#{app := App, old := Old, new := New, timeouts := Timeouts} = Switch) ->
    WasRunning = is_up(App, Switch),
    Began = erlang:monotonic_time(millisecond),
    Result = case take_down(with_stale(Old, Switch), Timeouts) of
        ok -> bring_up(New#{touched := maps:get(touched, Old)}, Timeouts);
        {error, _} = Error -> Error
    end,
    case Result of
        {ok, Envs} -> complete(Switch, Envs, Began);
        {error, Reason} -> undo(Switch, Reason, WasRunning, Began)
    end.

%% What an interrupted switch had begun goes too.
with_stale(#{libs := Libs} = Old, #{plan := #{stale := Stale}}) ->
    Old#{libs := Stale ++ Libs}.

is_up(App, #{previous := {ok, _}}) -> is_loaded_and_running(App);
is_up(_App, _Switch) -> false.

is_loaded_and_running(App) ->
    case application:get_key(App, mod) of
        {ok, []} -> true;
        {ok, _} -> bc_gitops_app_control:is_running(App);
        undefined -> false
    end.

complete(#{app := App, spec := Spec, build := Build, plan := Plan} = Switch, Envs, Began) ->
    Gap = erlang:monotonic_time(millisecond) - Began,
    #{base := Base, by_hand := ByHand} = Envs,
    Entry = #{
        name => App, spec => Spec, build => Build, base_env => Base, host_env => ByHand,
        root => bc_gitops_app_control:root(App), started_at => calendar:universal_time(),
        details => #{gap_ms => Gap}
    },
    bc_gitops_switches:locked(libs, fun() -> settle(Switch, Entry, Plan) end),
    {ok, Entry}.

settle(#{app := App, timeouts := Timeouts} = Switch, Entry, #{new := New, drop := Drop}) ->
    Table = bc_gitops_runtime_table:libs(),
    Settled = maps:from_list([{Name, (maps:get(Name, Table))#{lib := Lib, switching := none, next := none}}
                              || #{name := Name} = Lib <- New]),
    Release = bc_gitops_shared_libs:release(App, Drop),
    {Changes, Unused} = Release(Table),
    ok = bc_gitops_runtime_table:put(App, Entry, maps:merge(Settled, Changes)),
    remove_unused(Switch, Unused, Timeouts).

remove_unused(#{app := App}, Unused, Timeouts) ->
    Side = #{app => App, libs => Unused, code => damaged, descriptions => #{}, start => [],
             spec_env => undefined, host_env => #{}, touched => []},
    Touched = bc_gitops_protocols:touched(modules(Unused)),
    case take_down(Side, Timeouts) of
        ok ->
            report(App, bc_gitops_protocols:rebuild(Touched -- modules(Unused), maps:get(start, Timeouts)));
        {error, Reason} ->
            report(App, {error, Reason})
    end.

report(_App, ok) ->
    ok;
report(App, {error, Reason}) ->
    ?LOG_WARNING("~p: what it no longer needs did not go cleanly: ~p", [App, Reason],
                 #{domain => [bc_gitops], app => App}).

%%% Undo

%% Nothing was stopped: only what came for this application goes again.
abandon(Switch, Error) ->
    bc_gitops_switches:locked(libs, fun() -> without_locks(Switch, Error) end).

without_locks(#{app := App, plan := #{keep := Keep, add := Add, new := New}, table := Before} = Switch, Error) ->
    Table = bc_gitops_runtime_table:libs(),
    %% Libraries that this application held before are held as before.
    Mine = [Lib || #{name := Name} = Lib <- Keep ++ Add ++ New, not held_before(App, Name, Before)],
    Release = bc_gitops_shared_libs:release(App, Mine),
    {Changes, Unused} = Release(Table),
    Restored = maps:from_list([{Name, (maps:get(Name, Table))#{switching := none, next := none}}
                               || #{name := Name} <- New, held_before(App, Name, Before)]),
    ok = bc_gitops_runtime_table:set_libs(maps:merge(Restored, Changes)),
    Names = [Name || #{name := Name} <- Add],
    _ = remove_unused(Switch, [Lib || #{name := Name} = Lib <- Unused, lists:member(Name, Names)],
                      maps:get(timeouts, Switch)),
    Error.

held_before(App, Name, Table) ->
    case Table of
        #{Name := #{owners := Owners}} -> lists:member(App, Owners);
        _ -> false
    end.

undo(#{app := App, old := Old, new := New, timeouts := Timeouts} = Switch, Reason, WasRunning, Began) ->
    Down = take_down(New, Timeouts),
    Up = case {Down, WasRunning, Old} of
        {ok, _, #{libs := []}} -> put_host_env(New);
        {ok, _, #{code := damaged}} -> {error, {build_damaged, #{app => App}}};
        {ok, true, _} -> up_again(Old, Timeouts);
        {ok, false, _} -> bring_code(Old, Timeouts);
        {{error, _} = Error, _, _} -> Error
    end,
    Gap = erlang:monotonic_time(millisecond) - Began,
    Error1 = undone(Up, WasRunning, Switch, Reason, Gap),
    abandon(Switch, {error, Error1}).

up_again(Side, Timeouts) ->
    case bring_up(Side, Timeouts) of
        {ok, _Envs} -> ok;
        {error, _} = Error -> Error
    end.

undone(ok, true, #{app := App, previous := {ok, #{build := #{version := Running}} = Entry}}, Reason, Gap) ->
    Root = bc_gitops_app_control:root(App),
    Again = Entry#{root := Root, started_at := calendar:universal_time()},
    ok = bc_gitops_runtime_table:put(App, Again, #{}),
    {rolled_back, #{running => Running, reason => Reason, gap_ms => Gap}};
undone(ok, false, _Switch, Reason, _Gap) ->
    Reason;
undone({error, RollbackReason}, _, _Switch, Reason, Gap) ->
    {rollback_failed, #{reason => Reason, rollback_reason => RollbackReason, gap_ms => Gap}}.

%% @doc Stops and removes a managed application, and what only it needed.
-spec away(atom(), timeouts()) -> ok | failure().
away(App, Timeouts) ->
    case bc_gitops_runtime_table:find(App) of
        {ok, Entry} ->
            bc_gitops_switches:locked(libs, fun() -> away(App, Entry, Timeouts) end);
        not_found ->
            ok
    end.

away(App, #{host_env := HostEnv}, Timeouts) ->
    Table = bc_gitops_runtime_table:libs(),
    Mine = [Lib || #{owners := Owners, lib := Lib} <- maps:values(Table), lists:member(App, Owners)],
    Release = bc_gitops_shared_libs:release(App, Mine),
    {Changes, Unused} = Release(Table),
    {Own, Others} = lists:partition(fun(#{name := Name}) -> Name =:= App end, Unused),
    Touched = bc_gitops_protocols:touched(modules(Unused)),
    Ordered = stop_order(Others) ++ Own,
    Side = #{app => App, libs => Ordered, code => damaged, descriptions => #{}, start => [],
             spec_env => undefined, host_env => HostEnv, touched => []},
    case take_down(Side, Timeouts) of
        ok ->
            ok = bc_gitops_runtime_table:remove(App, Changes),
            _ = put_host_env(Side),
            report(App, bc_gitops_protocols:rebuild(Touched -- modules(Unused), maps:get(start, Timeouts))),
            ok;
        {error, _} = Error ->
            Error
    end.

%% Dependencies before what needs them, as the loaded applications say.
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

put_host_env(#{app := App, host_env := Env}) when map_size(Env) > 0 ->
    bc_gitops_app_env:put_back(App, Env, ?CONTROLLER_TIMEOUT);
put_host_env(_Side) ->
    ok.

%%% A side goes

-spec take_down(side(), timeouts()) -> ok | failure().
take_down(#{app := App, libs := Libs}, #{stop := Timeout}) ->
    Reversed = lists:reverse(Libs),
    case each(Reversed, fun(#{name := Name}) -> stop_and_unload(App, Name, Timeout) end) of
        ok ->
            OurLibs = [Lib || Lib <- Libs, not is_on_host(Lib)],
            lists:foreach(fun(#{path := Path}) -> bc_gitops_code:delete_path(Path) end, OurLibs),
            remove_code(App, modules(OurLibs));
        {error, _} = Error ->
            Error
    end.

stop_and_unload(App, Name, Timeout) ->
    Stop = fun() -> bc_gitops_app_control:stop(Name, Timeout) end,
    case bc_gitops_logger_guard:around(Name, Stop) of
        {ok, killed} ->
            ?LOG_WARNING("~p did not stop within ~b ms and was killed", [Name, Timeout],
                         #{domain => [bc_gitops], app => App}),
            bc_gitops_app_control:unload(Name, ?CONTROLLER_TIMEOUT);
        {ok, _} ->
            bc_gitops_app_control:unload(Name, ?CONTROLLER_TIMEOUT);
        {error, _} = Error ->
            Error
    end.

remove_code(App, Modules) ->
    case bc_gitops_code:unload(App, Modules) of
        ok ->
            bc_gitops_runtime_events:purged(App, Modules),
            case bc_gitops_code:leftovers(Modules) of
                [] -> ok;
                Left -> {error, {code_left, #{app => App, modules => Left}}}
            end;
        {error, _} = Error ->
            Error
    end.

each([], _Fun) ->
    ok;
each([Item | Rest], Fun) ->
    case Fun(Item) of
        ok -> each(Rest, Fun);
        {error, _} = Error -> Error
    end.

%%% A side comes

%% Answers the environment without the spec, and what of it somebody had set by hand.
-spec bring_up(side(), timeouts()) -> {ok, #{base := map(), by_hand := map()}} | failure().
bring_up(#{app := App, libs := Libs, host_env := HostEnv, spec_env := SpecEnv} = Side, Timeouts) ->
    Loaded = steps_ok([fun() -> bring_code(Side, Timeouts) end, fun() -> load_apps(Side) end]),
    ByHand = bc_gitops_app_env:set_by_hand(HostEnv, bc_gitops_app_env:all(App)),
    Base = maps:merge(bc_gitops_app_env:all(App), ByHand),
    Started = each([Loaded || Loaded =/= ok] ++ [
        fun() -> bc_gitops_app_env:apply(App, Base, SpecEnv, ?CONTROLLER_TIMEOUT) end,
        fun() -> start_apps(Side, Timeouts) end,
        fun() -> bc_gitops_code:verify(Libs) end
    ], fun run_step/1),
    case Started of
        ok -> {ok, #{base => Base, by_hand => ByHand}};
        {error, _} = Error -> Error
    end.

run_step({error, _} = Error) -> Error;
run_step(Step) -> Step().

bring_code(#{app := App, libs := Libs, code := Code, touched := Touched}, #{start := Timeout}) ->
    {OnHost, OurLibs} = lists:partition(fun is_on_host/1, Libs),
    lists:foreach(fun(#{path := Path}) -> bc_gitops_code:add_path(Path) end, OurLibs),
    Modules = modules(OurLibs),
    steps_ok([
        fun() -> load_from_host(OnHost) end,
        fun() -> bc_gitops_code:load(Code, Timeout) end,
        fun() ->
            All = lists:usort(Touched ++ bc_gitops_protocols:touched(Modules)),
            bc_gitops_protocols:rebuild(All, Timeout)
        end,
        fun() -> bc_gitops_runtime_events:loaded(App, Modules) end,
        fun() -> bc_gitops_code:verify(Libs) end
    ]).

load_from_host(Libs) ->
    case code:ensure_modules_loaded(modules(Libs)) of
        ok -> ok;
        {error, Reason} -> {error, {load_failed, #{modules => Reason}}}
    end.

steps_ok(Steps) ->
    each(Steps, fun(Step) -> Step() end).

%% What was loaded before, of an older version or by the host, gives way.
load_apps(#{app := App, libs := Libs, descriptions := Descriptions}) ->
    each(Libs, fun(#{name := Name}) ->
        steps_ok([
            fun() -> bc_gitops_app_control:unload(Name, ?CONTROLLER_TIMEOUT) end,
            %% What somebody set before it was loaded is still there; load/1 would mix it in.
            fun() -> clear_env(App, Name) end,
            fun() -> bc_gitops_app_control:load(maps:get(Name, Descriptions), ?CONTROLLER_TIMEOUT) end
        ])
    end).

clear_env(App, App) -> bc_gitops_app_env:put_back(App, #{}, ?CONTROLLER_TIMEOUT);
clear_env(_App, _Dependency) -> ok.

start_apps(#{start := Start} = Side, Timeouts) ->
    each(Start, fun(Name) -> start_app(Name, Side, Timeouts) end).

start_app(Name, #{app := App, descriptions := Descriptions}, #{start := Timeout}) ->
    {Required, Optional} = bc_gitops_app_file:needs(maps:get(Name, Descriptions)),
    OfHost = [Need || Need <- Required, not is_map_key(Need, Descriptions)],
    Loaded = [Need || Need <- Optional, not is_map_key(Need, Descriptions),
                      application:get_key(Need, vsn) =/= undefined],
    Start = fun() ->
        steps_ok([
            fun() -> each(OfHost ++ Loaded, fun(Need) -> start_of_host(App, Need, Timeout) end) end,
            fun() -> bc_gitops_app_control:start(Name, Timeout) end
        ])
    end,
    bc_gitops_logger_guard:around(Name, Start).

start_of_host(App, Need, Timeout) ->
    Start = fun() -> application:ensure_all_started(Need, temporary) end,
    case bc_gitops_app_control:with_deadline(Start, Timeout, #{app => App, dependency => Need}) of
        {ok, {ok, _Started}} -> ok;
        {ok, {error, Reason}} ->
            {error, {dependency_not_started, #{app => App, dependency => Need, reason => Reason}}};
        {error, {Kind, Details}} ->
            {error, {dependency_not_started, Details#{kind => Kind}}}
    end.

modules(Libs) ->
    lists:append([maps:keys(Modules) || #{modules := Modules} <- Libs]).

is_on_host(Lib) ->
    maps:get(on_host, Lib, false).
