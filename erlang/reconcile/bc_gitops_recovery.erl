%%% @doc What to do with an app that was found on disk at start. Pure.
%%%
%%% A switch that is still in its journal was cut off. When that was in another run of the VM, the app
%%% may have taken the VM down: the second time its revision is set aside.
-module(bc_gitops_recovery).

-export([goals/3, judge/2, order/1]).

-export_type([verdict/0]).

%% restore: start what last ran well; remove: finish its removal; wait: nothing of it ran; aside: what
%% last ran well is what took the VM down.
-type verdict() :: restore | remove | wait | aside.

-define(DEATHS, 2).

%% @doc The apps with their journals closed, and the goals of those that are to be started or removed.
-spec goals([bc_gitops_state:app()], Incarnation :: term(), Seq :: pos_integer()) ->
    {[bc_gitops_state:app()], [bc_gitops_goal:goal()]}.
goals(Apps, Incarnation, Seq) ->
    Judged = [judge(App, Incarnation) || App <- Apps],
    After = order([App || {restore, App} <- Judged]),
    {[App || {_Verdict, App} <- Judged],
     lists:flatmap(fun({Verdict, App}) -> goal(Verdict, App, Seq, After) end, Judged)}.

goal(restore, #{name := Name, commit := Commit}, Seq, After) ->
    [bc_gitops_goal:restore(Name, #{seq => Seq, commit => Commit, 'after' => maps:get(Name, After),
                                    reasons => [found_on_disk]})];
goal(remove, #{name := Name, commit := Commit}, Seq, _After) ->
    [bc_gitops_goal:remove(Name, #{seq => Seq, commit => Commit, reasons => [half_removed]})];
goal(_Verdict, _App, _Seq, _After) ->
    [].

%% @doc The verdict, and the app with its journal closed.
-spec judge(bc_gitops_state:app(), Incarnation :: term()) -> {verdict(), bc_gitops_state:app()}.
judge(#{switch := undefined, confirmed := undefined} = App, _Incarnation) ->
    {wait, App};
judge(#{switch := undefined, confirmed := Confirmed} = App, _Incarnation) ->
    case is_set_aside(Confirmed, App) of
        true -> {aside, App};
        false -> {restore, App}
    end;
judge(#{switch := #{action := remove}} = App, _Incarnation) ->
    {remove, App#{switch := undefined}};
judge(#{switch := #{vm := Incarnation}} = App, Incarnation) ->
    %% only bc_gitops was restarted: nobody died of it
    judge(App#{switch := undefined}, Incarnation);
judge(#{switch := #{target := Target}, deaths := Deaths} = App, Incarnation) ->
    Id = bc_gitops_goal:revision_id(Target),
    Count = maps:get(Id, Deaths, 0) + 1,
    Counted = App#{switch := undefined, deaths := Deaths#{Id => Count}},
    case Count >= ?DEATHS of
        true -> judge(set_aside(Id, Target, Count, Counted), Incarnation);
        false -> judge(Counted, Incarnation)
    end.

set_aside(Id, #{revision := Revision}, Count, App) ->
    Wanted = case Revision of undefined -> unknown; _ -> Revision end,
    App#{quarantine := #{
        id => {Id, Wanted}, reason => {vm_died_in_start, Count}, at => erlang:system_time(second)
    }}.

is_set_aside(Confirmed, #{quarantine := #{id := {Id, _}, reason := {vm_died_in_start, _}}}) ->
    bc_gitops_goal:revision_id(Confirmed) =:= Id;
is_set_aside(_Confirmed, _App) ->
    false.

%% @doc For each app that is to be restored the restored apps that have to run before it.
-spec order([bc_gitops_state:app()]) -> #{atom() => [atom()]}.
order(Apps) ->
    Names = maps:from_list([{Name, true} || #{name := Name} <- Apps]),
    Wanted = maps:from_list([
        {Name, [Dep || Dep <- bc_gitops_goal:depends_on(Confirmed), is_map_key(Dep, Names), Dep =/= Name]}
     || #{name := Name, confirmed := Confirmed} <- Apps
    ]),
    without_cycles(Wanted).

%% Revisions of different commits may depend on each other in a circle: whoever waits for such an app
%% does not wait for it.
without_cycles(Wanted) ->
    Free = free(Wanted, #{}),
    maps:map(fun(_Name, Deps) -> [Dep || Dep <- Deps, is_map_key(Dep, Free)] end, Wanted).

free(Wanted, Done) ->
    Next = [
        Name
     || {Name, Deps} <- maps:to_list(Wanted), not is_map_key(Name, Done),
        lists:all(fun(Dep) -> is_map_key(Dep, Done) end, Deps)
    ],
    case Next of
        [] -> Done;
        _ -> free(Wanted, maps:merge(Done, maps:from_list([{Name, true} || Name <- Next])))
    end.
