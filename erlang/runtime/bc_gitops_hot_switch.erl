%%% @doc Whether a switch can change the code of its application while that runs, and if so, does it.
%%%
%%% Decides by comparing the build that runs with the one that comes; where that speaks against it, the
%%% reasons are answered, and the switch restarts the application. Everything that a hot upgrade does,
%%% down to the code path and the environment, is part of what is undone when it fails.
-module(bc_gitops_hot_switch).

-include("bc_gitops.hrl").

-export([run/1, with_former_places/1, judge/4, describe/1]).

-export_type([verdict/0, result/0]).

-type lib() :: bc_gitops_code:lib().
-type pair() :: {Old :: lib(), New :: lib()}.
-type verdict() :: {hot, [bc_gitops_hot_upgrade:step()], up | down} | {restart, [binary()]}.
-type result() ::
    {ok, Details :: map(), BaseEnv :: map()}    % the new code runs
    | {swap, Because :: [binary()]}             % nothing changed; stop the old, start the new
    | {unchanged, Reason :: term()}             % nothing changed: it runs on as it was
    | {broken, Reason :: term()}.               % the old version has to be started anew

%% @doc Upgrades the application of a switch whose dependencies are there, if it runs and that is
%% possible.
-spec run(map()) -> result().
run(#{app := App, previous := {ok, #{build := #{key := Old}}}, build := #{key := New}} = Switch) when Old =/= New ->
    #{plan := Plan} = Switch,
    case bc_gitops_app_control:is_up(App) of
        true -> run(pairs(App, Plan), obstacle(Switch), Switch);
        false -> {swap, []}
    end;
run(_Switch) ->
    {swap, []}.

run(Pairs, none, Switch) ->
    #{spec := Spec, previous := {ok, #{build := Old}}, build := New} = Switch,
    case judge(Spec, Old, New, Pairs) of
        {hot, Steps, Direction} -> upgrade(Steps, Direction, Pairs, Switch);
        {restart, Because} -> {swap, Because}
    end;
run(_Pairs, Because, _Switch) ->
    {swap, [Because]}.

%% The application first, then the dependencies that change along.
pairs(App, #{old := Old, new := New}) ->
    All = [{Is, Comes} || #{name := Name} = Comes <- New, #{name := N} = Is <- Old, N =:= Name],
    {Own, Others} = lists:partition(fun({#{name := Name}, _}) -> Name =:= App end, All),
    Own ++ Others.

obstacle(#{plan := #{old := Old, new := New, stale := Stale, drop := Drop}, old := OldSide}) ->
    OnHost = lists:any(fun bc_gitops_side:is_on_host/1, Old ++ New),
    case {Stale, Drop, OldSide} of
        {[_ | _], _, _} -> <<"an earlier switch was interrupted">>;
        {_, [_ | _], _} ->
            Names = bc_gitops_words:names([Name || #{name := Name} <- Drop]),
            bc_gitops_words:text("it does not bring ~ts any more", [Names]);
        {_, _, #{code := none}} -> <<"the files of the version that runs are damaged">>;
        _ when OnHost -> <<"its code is the host's own">>;
        _ -> drift(Old)
    end.

drift(Old) ->
    case bc_gitops_code:verify_current(Old) of
        ok -> none;
        {error, _} -> <<"the code that runs is not that of its build">>
    end.

%%% The decision

%% @doc How to get from one build to another. The pairs are those of libraries that differ, the
%% application's first.
-spec judge(#app_spec{}, Old :: map(), New :: map(), [pair()]) -> verdict().
judge(#app_spec{upgrade = #{strategy := Strategy}} = Spec, Old, New, Pairs) ->
    Options = #{strategy => Strategy,
                toolchain_same => maps:get(toolchain, Old, none) =:= maps:get(toolchain, New, none)},
    case bc_gitops_hot_appup:find(Spec#app_spec.name, Old, New) of
        none -> judge(Pairs, Options#{appup => none}, none);
        {ok, #{instructions := Instructions} = Appup} -> judge(Pairs, Options#{appup => Instructions}, Appup);
        {error, Message} -> {restart, [Message]}
    end.

judge(Pairs, Options, Appup) ->
    Dirs = [{Old, New} || {#{path := Old}, #{path := New}} <- Pairs],
    case bc_gitops_native:hot_plan(Dirs, Options) of
        {ok, {hot, Computed, #{builds := [#{modules := Own} | _]}}} -> steps(Computed, Own, Appup);
        {ok, {restart, Reasons, _}} -> {restart, [Message || #{message := Message} <- Reasons]};
        {error, {_Kind, #{message := Message}}} -> {restart, [Message]}
    end.

%% The modules of builds are atoms already. An appup speaks for the application, not for dependencies.
steps(Computed, _Own, none) ->
    {hot, [step(Step) || Step <- Computed], up};
steps(Computed, Own, #{direction := Direction, instructions := Instructions}) ->
    Others = [step(Step) || Step <- Computed, not is_map_key(element(2, Step), Own)],
    case bc_gitops_hot_appup:steps(Instructions) of
        {ok, Steps} -> {hot, Others ++ Steps, Direction};
        {error, Message} -> {restart, [Message]}
    end.

step({update, Module, How}) -> {update, binary_to_existing_atom(Module), How};
step({What, Module}) -> {What, binary_to_existing_atom(Module)}.

%%% The upgrade

upgrade(Steps, Direction, Pairs, Switch) ->
    {OldLibs, NewLibs} = lists:unzip(Pairs),
    Modules = lists:usort([element(2, Step) || Step <- Steps, element(1, Step) =/= apply]),
    case {objects(OldLibs, Modules), objects(NewLibs, Modules)} of
        {{ok, Old}, {ok, New}} ->
            Upgrade = #{steps => Steps, direction => Direction, old => Old, new => New},
            upgrade(maps:merge(Upgrade, changes(Pairs, Switch)), Switch);
        {{error, _}, _} ->
            {swap, [<<"the files of the version that runs are damaged">>]};
        {_, {error, Reason}} ->
            {unchanged, Reason}
    end.

objects(Libs, Modules) ->
    bc_gitops_hot_code:objects([
        {Module, filename:join(ebin(Lib), atom_to_list(Module) ++ ".beam")}
     || #{modules := Known} = Lib <- Libs, Module <- Modules, is_map_key(Module, Known)
    ]).

ebin(#{path := Path}) ->
    filename:join(unicode:characters_to_list(Path), "ebin").

%% All that changes along with the code.
changes(Pairs, #{app := App, spec := #app_spec{upgrade = #{force := Force}}, timeouts := Timeouts} = Switch) ->
    {_, NewLibs} = lists:unzip(Pairs),
    #{
        app => App,
        paths => [{ebin(Old), ebin(New)} || {Old, New} <- Pairs],
        apps => [app_change(Pair, Switch) || Pair <- Pairs],
        settle => {fun() -> bc_gitops_code:verify_current(NewLibs) end, fun() -> ok end},
        force => Force,
        start_timeout => maps:get(start, Timeouts)
    }.

app_change({#{name := Name}, _}, #{old := #{descriptions := Olds}, new := #{descriptions := News}} = Switch) ->
    #{Name := From} = Olds,
    #{Name := To} = News,
    #{app => Name, from => From, to => To, env => env(Name, From, To, Switch)}.

env(App, _From, _To, #{app := App, spec := #app_spec{env = Env}} = Switch) ->
    maps:merge(base_env(Switch), Env);
env(Dependency, From, To, _Switch) ->
    bc_gitops_hot_app:rebased(bc_gitops_app_env:all(Dependency), From, To).

base_env(#{app := App, previous := {ok, #{base_env := Base}}} = Switch) ->
    #{old := #{descriptions := #{App := From}}, new := #{descriptions := #{App := To}}} = Switch,
    bc_gitops_hot_app:rebased(Base, From, To).

upgrade(Upgrade, #{app := App, previous := {ok, #{build := #{version := Runs}}}} = Switch) ->
    Undone = fun(Reason) -> {hot_upgrade_undone, #{app => App, running => Runs, reason => Reason}} end,
    case bc_gitops_hot_upgrade:run(Upgrade) of
        {ok, Report} ->
            #{paths := Paths} = Upgrade,
            lists:foreach(fun code:del_path/1, [From || {From, To} <- Paths, From =/= To]),
            {ok, details(Report), base_env(Switch)};
        {later, Reason} -> {unchanged, Reason};
        {undone, Reason} -> {unchanged, Undone(Reason)};
        {cold, Reason} -> {swap, [bc_gitops_runtime_error:format_error(Reason)]};
        {restart, Reason} -> {broken, Reason}
    end.

details(#{pause_us := Pause, processes := Processes, modules := Modules, lingering := Lingering}) ->
    #{upgraded => hot, gap_ms => 0, pause_us => Pause, processes => Processes, modules => Modules,
      lingering => Lingering}.

%% @doc Modules that did not change are not loaded again: the libraries of a switch that is done remember
%% where these were loaded from.
-spec with_former_places(map()) -> map().
with_former_places(#{plan := #{old := Old, new := New} = Plan} = Switch) ->
    Former = maps:from_list([{Name, [Path | maps:get(formerly, Lib, [])]}
                             || #{name := Name, path := Path} = Lib <- Old]),
    Placed = [Lib#{formerly => in_use(Lib, maps:get(Name, Former, []))} || #{name := Name} = Lib <- New],
    Switch#{plan := Plan#{new := Placed}}.

in_use(#{modules := Modules}, Paths) ->
    Files = [File || {file, File} <- [code:is_loaded(M) || M <- maps:keys(Modules)], is_list(File)],
    Dirs = lists:usort([filename:dirname(File) || File <- Files]),
    [Path || Path <- Paths, lists:member(ebin(#{path => Path}), Dirs)].

%%% Words

%% @doc How an application was upgraded, from the details of its state; empty where it was not.
-spec describe(map()) -> binary().
describe(#{upgraded := hot, pause_us := Pause, processes := Processes, modules := Modules}) ->
    bc_gitops_words:text("hot: ~b modules changed, ~b processes stood still for ~b us",
                         [length(Modules), Processes, Pause]);
describe(#{upgraded := restart, because := [_ | _] = Because}) ->
    bc_gitops_words:text("restart: ~ts", [bc_gitops_words:names("; ", Because)]);
describe(_Details) ->
    <<>>.
