%%% @doc Brings an application from what runs to another build of it, or away, with full undo.
%%%
%%% The order: look whether it can be done at all (nothing has changed when it cannot); read and
%%% prepare all code, old and new; bring up new dependencies beside what runs; then take the old
%%% side down and bring the new side up. If that does not come up, it is taken down and the old
%%% side brought up again.
%%%
%%% A switch that was killed leaves its claim on the libraries in the table; the next one for the
%%% same application takes down what that had begun to bring up, together with the old side.
-module(bc_gitops_switch).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([to/4, away/2]).

-export_type([build/0]).

-type build() :: #{key := binary(), version := binary(), path := binary(),
                   libs := [bc_gitops_code:lib()], _ => _}.
-type failure() :: {error, {Kind :: atom(), term()}}.

%% Answers of the application controller for which no application's code runs.
-define(CONTROLLER_TIMEOUT, 10000).

%% @doc Makes Build of the application run with the environment of its spec.
-spec to(#app_spec{}, build(), bc_gitops_side:timeouts(), bc_gitops_switches:proceed()) ->
    {ok, bc_gitops_runtime_table:entry()} | failure().
to(#app_spec{name = App} = Spec, Build, Timeouts, Proceed) ->
    case bc_gitops_app_control:running(maps:get(stop, Timeouts)) of
        {ok, Running} ->
            Start = #{app => App, spec => Spec, build => Build, timeouts => Timeouts,
                      running => Running},
            case bc_gitops_switches:locked(libs, fun() -> steps(Start, begin_steps()) end) of
                {ok, #{code := ok} = Switch} ->
                    bring_dependencies(Switch, Proceed);
                {ok, #{code := {error, _} = Error} = Switch} ->
                    abandon(Switch, Error);
                {error, {dependency_busy, #{process := Other}}} ->
                    wait_for(Other, Spec, Build, Timeouts, Proceed);
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Another application's switch replaces or removes what this one needs. Nothing is claimed yet, so
%% that two switches never wait for each other.
wait_for(Other, Spec, Build, Timeouts, Proceed) ->
    Ref = monitor(process, Other),
    receive {'DOWN', Ref, process, Other, _} -> ok end,
    case Proceed() of
        true -> to(Spec, Build, Timeouts, Proceed);
        false -> {error, {cancelled, #{app => Spec#app_spec.name}}}
    end.

%%% Before anything changes, under the lock: everybody sees what this application is going to hold

begin_steps() ->
    [fun look/1, fun check_protected/1, fun plan/1, fun read_descriptions/1, fun check_missing/1,
     fun check_modules/1, fun prepare_sides/1, fun claim/1, fun load_dependencies/1].

steps(Switch, []) ->
    {ok, Switch};
steps(Switch, [Step | Rest]) ->
    case Step(Switch) of
        {ok, Next} -> steps(Next, Rest);
        {error, _} = Error -> Error
    end.

with(Key, {ok, Value}, Switch) -> {ok, Switch#{Key => Value}};
with(_Key, {error, _} = Error, _Switch) -> Error.

look(#{app := App} = Switch) ->
    {ok, Switch#{previous => bc_gitops_runtime_table:find(App),
                 table => bc_gitops_runtime_table:libs()}}.

check_protected(#{app := App, build := #{version := Version}, running := Running} = Switch) ->
    case bc_gitops_host:protected(App, Running) of
        false ->
            {ok, Switch};
        {true, Why} ->
            {error, {protected_application, #{app => App, reason => Why, wanted => Version}}}
    end.

plan(#{app := App, build := #{libs := Libs}, table := Table} = Switch) ->
    Plan = bc_gitops_shared_libs:plan(App, Libs, Table),
    ok = say_what_gives_way(App, Libs, Plan),
    with(plan, Plan, Switch).

say_what_gives_way(App, Libs, {ok, #{keep := Keep}}) ->
    Gives = [{Name, Brought, Kept} || #{name := Name, version := Brought} <- Libs,
                                      #{name := N, version := Kept} <- Keep,
                                      N =:= Name, Kept =/= Brought],
    lists:foreach(
        fun({Name, Brought, Kept}) ->
            ?LOG_NOTICE("~p brings ~p ~ts and runs with ~ts, as the spec of ~p says",
                        [App, Name, Brought, Kept, Name], #{application => bc_gitops, app => App})
        end,
        Gives
    );
say_what_gives_way(_App, _Libs, {error, _}) ->
    ok.

read_descriptions(#{plan := #{host := Host, keep := Keep, add := Add, new := New}} = Switch) ->
    with(descriptions, bc_gitops_side:descriptions(Host ++ Keep ++ Add ++ New), Switch).

check_missing(#{app := App, descriptions := Descriptions} = Switch) ->
    case bc_gitops_host:missing(App, Descriptions) of
        [] -> {ok, Switch};
        Missing -> {error, {missing_applications, Missing}}
    end.

%% Each module belongs to one library, and none to the host and to us.
check_modules(#{app := App, plan := Plan, table := Table} = Switch) ->
    #{add := Add, old := Old, new := New, stale := Stale} = Plan,
    Coming = [Lib || Lib <- Add ++ New, not bc_gitops_side:is_on_host(Lib)],
    Staying = [Lib || #{lib := Lib} <- maps:values(Table), not lists:member(Lib, Old)],
    Modules = bc_gitops_side:modules(Coming),
    Taken = [{Module, Path} || #{modules := Theirs, path := Path} <- Staying,
                               Module <- Modules, is_map_key(Module, Theirs)],
    Ours = [Lib || Lib <- Stale ++ Old ++ Coming ++ Staying, not bc_gitops_side:is_on_host(Lib)],
    case Taken ++ bc_gitops_host:conflicts(Modules, Ours) of
        [] -> {ok, Switch};
        Conflicts -> {error, {module_conflict, #{app => App, modules => Conflicts}}}
    end.

prepare_sides(#{app := App, plan := #{add := Add, new := New}} = Switch) ->
    #{spec := #app_spec{env = Env}, descriptions := Descriptions} = Switch,
    Envs = #{spec_env => Env, host_env => host_env(Switch)},
    steps(Switch, [
        fun(S) -> with(added, bc_gitops_side:make(App, Add, Descriptions, Envs), S) end,
        fun(S) -> with(new, bc_gitops_side:make(App, New, Descriptions, Envs), S) end,
        fun(S) -> {ok, S#{old => old_side(S)}} end
    ]).

host_env(#{previous := {ok, #{host_env := Env}}}) -> Env;
host_env(#{app := App}) -> bc_gitops_app_env:all(App).

%% What runs can only be brought up again from its files. If they are gone, going forward is all
%% there is left: the log says so beforehand.
old_side(#{app := App, plan := #{old := Old, keep := Keep, host := Host}} = Switch) ->
    Envs = #{spec_env => previous_env(Switch), host_env => host_env(Switch)},
    Made = case bc_gitops_side:descriptions(Host ++ Keep ++ Old) of
        {ok, Descriptions} -> bc_gitops_side:make(App, Old, Descriptions, Envs);
        {error, _} = Error -> Error
    end,
    case Made of
        {ok, Side} ->
            Side;
        {error, Reason} ->
            ?LOG_WARNING("~p: the files of the version that runs are damaged, "
                         "it could not be brought back: ~ts",
                         [App, said(Reason)], #{application => bc_gitops, app => App}),
            bc_gitops_side:bare(App, Old)
    end.

previous_env(#{previous := {ok, #{spec := #app_spec{env = Env}}}}) -> Env;
previous_env(_Switch) -> #{}.

claim(#{app := App, plan := Plan, table := Table} = Switch) ->
    Claim = bc_gitops_shared_libs:claim(App, Plan),
    ok = bc_gitops_runtime_table:set_libs(Claim(Table)),
    {ok, Switch}.

%% New dependencies are loaded under the lock: the next switch finds them complete.
load_dependencies(#{added := Added, timeouts := Timeouts} = Switch) ->
    {ok, Switch#{code => bc_gitops_side:bring_code(Added, Timeouts)}}.

%%% The switch

bring_dependencies(#{app := App, added := Added, new := New} = Switch, Proceed) ->
    #{timeouts := Timeouts} = Switch,
    case bc_gitops_side:bring_dependencies(Added, New, Timeouts) of
        ok ->
            case Proceed() of
                true -> change(Switch);
                false -> abandon(Switch, {error, {cancelled, #{app => App}}})
            end;
        {error, _} = Error ->
            abandon(Switch, Error)
    end.

%% The code of an application that runs changes in place where that is possible.
change(Switch) ->
    Began = erlang:monotonic_time(millisecond),
    case bc_gitops_hot_switch:run(Switch) of
        {ok, Details, Base} -> complete_hot(Switch, Details, Base);
        {swap, Because} -> swap(Switch#{because => Because});
        {unchanged, Reason} -> abandon(Switch, {error, Reason});
        {broken, Reason} -> undo(Switch, Reason, true, Began)
    end.

%% The same processes, with other code.
complete_hot(#{app := App, spec := Spec, build := Build, previous := {ok, Entry}} = Switch, Details, Base) ->
    Changed = Entry#{spec := Spec, build := Build, base_env := Base, details := Details},
    #{plan := #{new := New, old := Old}} = Switch,
    Gone = bc_gitops_side:modules(Old) -- bc_gitops_side:modules(New),
    ok = bc_gitops_runtime_events:purged(App, Gone),
    ok = bc_gitops_runtime_events:loaded(App, maps:get(modules, Details) -- Gone),
    ok = settle(bc_gitops_hot_switch:with_former_places(Switch), Changed),
    {ok, Changed}.

swap(#{old := Old, new := New, timeouts := Timeouts} = Switch) ->
    WasUp = was_up(Switch),
    Began = erlang:monotonic_time(millisecond),
    Result = case bc_gitops_side:take_down(with_stale(Old, Switch), Timeouts) of
        {ok, Gone} -> bc_gitops_side:bring_up(New#{gone := Gone}, Timeouts);
        {error, _} = Error -> Error
    end,
    case Result of
        {ok, Envs} -> complete(Switch, Envs, Began);
        {error, Reason} -> undo(Switch, Reason, WasUp, Began)
    end.

%% What an interrupted switch had begun goes too.
with_stale(#{libs := Libs} = Old, #{plan := #{stale := Stale}}) ->
    Old#{libs := Stale ++ Libs}.

was_up(#{app := App, previous := {ok, _}}) -> bc_gitops_app_control:is_up(App);
was_up(#{app := App, table := Table}) ->
    is_brought_by_others(App, Table) andalso bc_gitops_app_control:is_up(App).

is_brought_by_others(App, Table) ->
    case Table of
        #{App := #{owners := Owners}} -> Owners -- [App] =/= [];
        #{} -> false
    end.

complete(#{app := App, spec := Spec, build := Build} = Switch, Envs, Began) ->
    #{base := Base, by_hand := ByHand} = Envs,
    Gap = erlang:monotonic_time(millisecond) - Began,
    Entry = #{
        name => App, spec => Spec, build => Build, base_env => Base, host_env => ByHand,
        root => bc_gitops_app_control:root(App), started_at => calendar:universal_time(),
        details => how(Switch, #{gap_ms => Gap})
    },
    ok = settle(Switch, Entry),
    {ok, Entry}.

how(#{because := [_ | _] = Because}, Details) -> Details#{upgraded => restart, because => Because};
how(_Switch, Details) -> Details.

settle(#{app := App, plan := #{new := New, drop := Drop}}, Entry) ->
    bc_gitops_switches:locked(libs, fun() ->
        Table = bc_gitops_runtime_table:libs(),
        Settled = [{Name, (settled(Name, Table))#{lib := Lib}} || #{name := Name} = Lib <- New],
        Gone = [{Name, gone} || #{name := Name} <- Drop],
        ok = bc_gitops_runtime_table:put(App, Entry, maps:from_list(Settled ++ Gone))
    end).

settled(Name, Table) ->
    (maps:get(Name, Table))#{switching := none, next := none}.

%% Nobody else can take up what is unused while it goes: it is marked as being switched.
remove_unused(_App, [], _Timeouts) ->
    ok;
remove_unused(App, Unused, Timeouts) ->
    Side = bc_gitops_side:bare(App, bc_gitops_side:stop_order(Unused)),
    case bc_gitops_side:remove(Side, Timeouts) of
        ok ->
            Gone = maps:from_list([{Name, gone} || #{name := Name} <- Unused]),
            bc_gitops_switches:locked(libs, fun() -> bc_gitops_runtime_table:set_libs(Gone) end);
        {error, _} = Error ->
            Error
    end.

report(_App, ok) ->
    ok;
report(App, {error, Reason}) ->
    ?LOG_WARNING("~p: what it no longer needs did not go cleanly: ~ts", [App, said(Reason)],
                 #{application => bc_gitops, app => App}).

said(Reason) ->
    case bc_gitops_runtime_error:format_error(Reason) of
        unknown -> bc_gitops_words:reason(Reason);
        Said -> Said
    end.

%%% Undo

undo(#{app := App, timeouts := Timeouts} = Switch, Reason, WasUp, Began) ->
    Up = old_again(Switch, WasUp, Timeouts),
    Gap = erlang:monotonic_time(millisecond) - Began,
    Undone = undone(Up, WasUp, Switch, Reason, Gap),
    ?LOG_DEBUG("~p: undone after ~b ms: ~0tP", [App, Gap, Undone, 40],
                 #{application => bc_gitops, app => App}),
    abandon(Switch, {error, Undone}).

%% It is brought up only if it was up; its code comes back in any case.
old_again(#{app := App, old := #{libs := []} = Old, new := New}, _WasUp, Timeouts) ->
    #{host_env := HostEnv} = Old,
    case bc_gitops_side:remove(New, Timeouts) of
        ok -> bc_gitops_app_env:put_back(App, HostEnv, ?CONTROLLER_TIMEOUT);
        {error, _} = Error -> Error
    end;
old_again(#{app := App, old := #{code := none}, new := New}, _WasUp, Timeouts) ->
    case bc_gitops_side:remove(New, Timeouts) of
        ok -> {error, {build_damaged, #{app => App}}};
        {error, _} = Error -> Error
    end;
old_again(#{old := Old, new := New}, WasUp, Timeouts) ->
    case bc_gitops_side:take_down(New, Timeouts) of
        {ok, Gone} -> up_again(Old#{gone := Gone}, WasUp, Timeouts);
        {error, _} = Error -> Error
    end.

up_again(Old, true, Timeouts) ->
    case bc_gitops_side:bring_up(Old, Timeouts) of
        {ok, _Envs} -> ok;
        {error, _} = Error -> Error
    end;
up_again(Old, false, Timeouts) ->
    bc_gitops_side:bring_code(Old, Timeouts).

undone(ok, true, #{app := App, previous := {ok, Entry}} = Switch, Reason, Gap) ->
    #{build := #{version := Running}} = Entry,
    Again = Entry#{root := bc_gitops_app_control:root(App),
                   started_at := calendar:universal_time()},
    ok = bc_gitops_runtime_table:put(App, Again, #{}),
    {rolled_back, how(Switch, #{running => Running, reason => Reason, gap_ms => Gap})};
undone(ok, _WasUp, _Switch, Reason, _Gap) ->
    Reason;
undone({error, RollbackReason}, _WasUp, _Switch, Reason, Gap) ->
    {rollback_failed, #{reason => Reason, rollback_reason => RollbackReason, gap_ms => Gap}}.

%% What came for this application goes again; what it held before, it holds.
abandon(#{app := App, plan := Plan, table := Before, timeouts := Timeouts}, Error) ->
    #{keep := Keep, add := Add, new := New, drop := Drop} = Plan,
    Unused = bc_gitops_switches:locked(libs, fun() ->
        Table = bc_gitops_runtime_table:libs(),
        {Held, Came} = lists:partition(fun(#{name := Name}) -> is_held(App, Name, Before) end,
                                       Keep ++ Add ++ New ++ Drop),
        Back = maps:from_list([{Name, settled(Name, Table)} || #{name := Name} <- Held -- Keep]),
        {Changes, Unused} = bc_gitops_shared_libs:release(App, Came, Table),
        ok = bc_gitops_runtime_table:set_libs(maps:merge(Back, Changes)),
        Unused
    end),
    report(App, remove_unused(App, Unused, Timeouts)),
    Error.

is_held(App, Name, Table) ->
    case Table of
        #{Name := #{owners := Owners}} -> lists:member(App, Owners);
        _ -> false
    end.

%% @doc Stops and removes a managed application, and what only it needed. One that is unknown is
%% gone.
-spec away(atom(), bc_gitops_side:timeouts()) -> ok | failure().
away(App, Timeouts) ->
    Previous = bc_gitops_runtime_table:find(App),
    Unused = bc_gitops_switches:locked(libs, fun() ->
        Table = bc_gitops_runtime_table:libs(),
        Held = [Entry || #{owners := Owners} = Entry <- maps:values(Table),
                         lists:member(App, Owners)],
        Mine = [Lib || #{lib := Lib} <- Held],
        Begun = [Next || #{next := Next} <- Held, Next =/= none],
        {Changes, Unused} = bc_gitops_shared_libs:release(App, Mine, Table),
        ok = bc_gitops_runtime_table:set_libs(Changes),
        Names = [Name || #{name := Name} <- Unused],
        [Lib || #{name := Name} = Lib <- Begun, lists:member(Name, Names)] ++ Unused
    end),
    case remove_unused(App, Unused, Timeouts) of
        ok ->
            ok = bc_gitops_runtime_table:remove(App, #{}),
            leave_env(App, Previous);
        {error, _} = Error ->
            Error
    end.

%% What somebody had set by hand is there again. Where the application stays because another one
%% needs it, only what the spec had set goes.
leave_env(App, {ok, #{base_env := Base, host_env := HostEnv}}) ->
    case application:get_key(App, vsn) of
        undefined -> bc_gitops_app_env:put_back(App, HostEnv, ?CONTROLLER_TIMEOUT);
        {ok, _} -> bc_gitops_app_env:put_back(App, Base, ?CONTROLLER_TIMEOUT)
    end;
leave_env(_App, not_found) ->
    ok.
