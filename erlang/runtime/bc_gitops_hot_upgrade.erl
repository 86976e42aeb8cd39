%%% @doc Changes the code of an application while it runs: completely, or not at all.
%%%
%%% Everything that can fail for want of good files or of a free place is found before anything is
%%% touched: modules that cannot be replaced, code that is not loadable, processes that still run
%%% code that was replaced earlier. Only the processes of modules whose states change are suspended,
%%% and the supervisors that could start more of them. All modules of a part are loaded at once.
%%% Whatever fails is undone by the journal.
%%%
%%% Works without bc_gitops being started.
-module(bc_gitops_hot_upgrade).

-export([run/1]).

-export_type([step/0, code_step/0, upgrade/0, report/0, result/0]).

-type code_step() :: {add_module, module()} | {delete_module, module()} | {load_module, module()}
                   | {update, module(), supervisor | soft | {advanced, Extra :: term()}}.
-type step() :: code_step() | {apply, {module(), atom(), [term()]}}.
-type upgrade() :: #{
    app := atom(),
    steps := [step()],
    old := #{module() => bc_gitops_hot_code:object()},  % what runs; undone where it is here
    new := #{module() => bc_gitops_hot_code:object()},
    direction => up | down,                             % down: the code that goes changes states
    paths => [{From :: file:filename(), To :: file:filename()}],  % ebin directories
    apps => [bc_gitops_hot_app:change()],               % what else the application controller knows
    settle => {fun(() -> ok | {error, term()}), Undo :: fun(() -> ok | {error, term()})},
    force => boolean(),                                 % ends processes that run old code
    suspend_timeout => timeout(),                       % for one round of system messages
    start_timeout => timeout()                          % for each call of the application's code
}.
-type report() :: #{pause_us := non_neg_integer(), processes := non_neg_integer(),
                    modules := [module()], lingering := [module()]}.
-type result() ::
    {ok, report()}
    | {later, {old_code_in_use, map()}}    % nothing was touched; code replaced earlier is run
    | {cold, {Kind :: atom(), map()}}      % nothing changed: the new version has to be started anew
    | {undone, {Kind :: atom(), map()}}    % nothing changed: old code, old states, same processes
    | {restart, {Kind :: atom(), map()}}.  % the old version has to be started anew

-define(SUSPEND_TIMEOUT, 5000).
-define(START_TIMEOUT, 30000).

%% @doc Upgrades. Ends the same way whatever happens to the processes that do it.
-spec run(upgrade()) -> result().
run(#{app := App} = Upgrade) ->
    Timeout = maps:get(suspend_timeout, Upgrade, ?SUSPEND_TIMEOUT),
    Known = maps:merge(
        #{direction => up, paths => [], apps => [], force => false, settle => none,
          start_timeout => ?START_TIMEOUT},
        Upgrade#{timeout => Timeout}
    ),
    Work = fun(Journal) -> work(Known#{journal => Journal}) end,
    case bc_gitops_hot_journal:run(Work, Timeout, #{app => App}) of
        {undone, {cold, Reason}} -> {cold, Reason};
        Result -> Result
    end.

work(Upgrade) ->
    case steps(Upgrade, [fun look/1, fun clear/1, fun read/1, fun prepare/1, fun find/1, fun show/1,
                         fun parts/1, fun apps/1, fun settle/1]) of
        {ok, Done} -> {done, {ok, report(Done)}};
        {later, _} = Later -> {done, Later};
        {cold, _} = Cold -> {failed, Cold};
        {error, Reason} -> {failed, Reason}
    end.

steps(Upgrade, []) ->
    {ok, Upgrade};
steps(Upgrade, [Step | Rest]) ->
    case Step(Upgrade) of
        {ok, Next} -> steps(Next, Rest);
        NotOk -> NotOk
    end.

with(Key, {ok, Value}, Upgrade) -> {ok, Upgrade#{Key => Value}};
with(_Key, {error, _} = Error, _Upgrade) -> Error.

%%% Before anything changes

look(#{steps := Steps, new := New} = Upgrade) ->
    Modules = [element(2, Step) || Step <- Steps, element(1, Step) =/= apply],
    case bc_gitops_hot_code:look(Modules, New) of
        ok -> {ok, Upgrade#{modules => lists:usort(Modules)}};
        {error, Reason} -> {cold, Reason}
    end.

clear(#{app := App, modules := Modules, force := Force} = Upgrade) ->
    case bc_gitops_hot_code:clear(Modules, Force) of
        ok ->
            {ok, Upgrade};
        {later, Held} ->
            {later, {old_code_in_use, #{app => App, modules => Held,
                                        processes => bc_gitops_hot_processes:using(Held)}}}
    end.

%% What is loaded, as it can be brought back.
read(#{modules := Modules, old := Old, new := New} = Upgrade) ->
    Loaded = [{M, MD5} || M <- Modules, {ok, MD5} <- [bc_gitops_hot_code:md5(M)]],
    Kept = [M || {M, MD5} <- Loaded, {_, Code} <- [maps:get(M, Old, none)],
                 code:module_md5(Code) =:= MD5],
    Names = [M || {M, _} <- Loaded],
    Objects = maps:with(Kept, Old),
    case bc_gitops_hot_code:prepare(Objects) of
        {ok, Prepared} ->
            Set = #{prepared => Prepared, objects => Objects, absent => Modules -- Names},
            {ok, Upgrade#{set => Set, unkept => Names -- Kept,
                          vsns => maps:from_list([{M, vsns(M, New)} || M <- Names])}};
        {error, _} = Error ->
            Error
    end.

vsns(Module, New) ->
    Present = case proplists:get_value(vsn, erlang:get_module_info(Module, attributes)) of
        [Vsn] -> Vsn;
        Other -> Other
    end,
    case New of
        #{Module := Object} -> {Present, bc_gitops_hot_code:vsn(Object)};
        #{} -> {Present, undefined}
    end.

%% Instructions between calls of functions belong together.
prepare(#{steps := Steps} = Upgrade) ->
    prepare(Steps, [], Upgrade#{parts => []}).

prepare([{apply, Call} | Rest], Code, Upgrade) ->
    case part(Code, Upgrade) of
        {ok, #{parts := Parts} = Next} ->
            prepare(Rest, [], Next#{parts := [{apply, Call} | Parts]});
        NotOk -> NotOk
    end;
prepare([Step | Rest], Code, Upgrade) ->
    prepare(Rest, [Step | Code], Upgrade);
prepare([], Code, Upgrade) ->
    case part(Code, Upgrade) of
        {ok, #{parts := Parts} = Last} -> {ok, Last#{parts := lists:reverse(Parts)}};
        NotOk -> NotOk
    end.

part([], Upgrade) ->
    {ok, Upgrade};
part(Code, #{parts := Parts, new := New} = Upgrade) ->
    case bc_gitops_hot_part:make(lists:reverse(Code), New) of
        {ok, Part} -> {ok, Upgrade#{parts := [Part | Parts]}};
        {error, {not_hot, _} = Reason} -> {cold, Reason};
        {error, _} = Error -> Error
    end.

find(#{app := App, steps := Steps, timeout := Timeout} = Upgrade) ->
    {Search, Silent} = bc_gitops_hot_processes:find([M || {update, M, _} <- Steps], Timeout),
    case [Pid || Pid <- Silent, is_of(App, Pid)] of
        [] -> {ok, Upgrade#{search => Search}};
        Ours -> {error, {supervisors_silent, #{app => App, processes => Ours}}}
    end.

is_of(App, Pid) ->
    case process_info(Pid, group_leader) of
        {group_leader, Leader} -> Leader =:= bc_gitops_app_control:master(App);
        undefined -> false
    end.

%%% The change

%% The new directories stand behind the old ones, which go when the code is loaded.
show(#{journal := Journal, paths := Paths, set := Set} = Upgrade) ->
    ok = bc_gitops_hot_journal:note(Journal, #{code => Set}),
    Known = [To || {_, To} <- Paths, lists:member(To, code:get_path())],
    ok = bc_gitops_hot_journal:act(Journal, fun() -> put_back(Paths, Known) end),
    Bad = [To || {_, To} <- Paths, code:add_pathz(To) =/= true],
    case Bad of
        [] -> {ok, Upgrade#{hide => [From || {From, To} <- Paths, From =/= To], done => []}};
        [Path | _] -> {error, {bad_path, #{path => Path}}}
    end.

%% What was on the path before stands behind the former directories again.
put_back(Paths, Known) ->
    lists:foreach(fun({From, _}) -> code:add_pathz(From) end, Paths),
    lists:foreach(fun code:del_path/1, [To || {From, To} <- Paths, From =/= To]),
    lists:foreach(fun code:add_pathz/1, Known).

parts(#{parts := []} = Upgrade) ->
    {ok, Upgrade};
parts(#{parts := [{apply, Call} | Rest], journal := Journal} = Upgrade) ->
    ok = bc_gitops_hot_journal:final(Journal, {function_called, #{function => Call}}),
    case bc_gitops_hot_app:call(Call, Upgrade) of
        ok -> parts(Upgrade#{parts := Rest});
        {error, _} = Error -> Error
    end;
parts(#{parts := [Part | Rest], done := Done} = Upgrade) ->
    case bc_gitops_hot_part:run(Part, Upgrade) of
        {ok, Report} -> parts(Upgrade#{parts := Rest, hide := [], done := [Report | Done]});
        NotOk -> NotOk
    end.

apps(#{apps := Apps, journal := Journal, start_timeout := Timeout} = Upgrade) ->
    with(apps, change_each(Apps, Journal, Timeout), Upgrade).

change_each([], _Journal, _Timeout) ->
    {ok, []};
change_each([Change | Rest], Journal, Timeout) ->
    {Do, Undo} = bc_gitops_hot_app:change(Change, Timeout),
    ok = bc_gitops_hot_journal:act(Journal, Undo),
    case Do() of
        ok -> change_each(Rest, Journal, Timeout);
        {error, _} = Error -> Error
    end.

settle(#{settle := none} = Upgrade) ->
    {ok, Upgrade};
settle(#{settle := {Settle, Undo}, journal := Journal} = Upgrade) ->
    ok = bc_gitops_hot_journal:act(Journal, Undo),
    case Settle() of
        ok -> {ok, Upgrade};
        {error, _} = Error -> Error
    end.

%% Whoever runs the former code still is left alone; it stands in the way of the next upgrade.
report(#{done := Done, modules := Modules}) ->
    #{
        pause_us => lists:max([0 | [Pause || #{pause_us := Pause} <- Done]]),
        processes => lists:sum([Count || #{processes := Count} <- Done]),
        modules => Modules,
        lingering => bc_gitops_hot_code:sweep(Modules)
    }.
