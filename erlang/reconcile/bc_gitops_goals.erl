%%% @doc Which goals are handed out, who waits for them, and what came of them. Pure.
%%%
%%% The goals of one cycle, or of one call by hand, are a group: whoever asked is answered when the
%%% last goal of the group is settled, by that goal or by a newer one for the same app.
-module(bc_gitops_goals).

-export([new/0, expect/2, hand_out/3, newest/2, newest_seq/2, count/1]).
-export([settle/5, done/1, answer/2, supersede/1, abandon/1]).

-export_type([goals/0, group/0, asked/0, result/0]).

%% A cycle that another one follows before its end is superseded: its end is told no more.
-type kind() :: cycle | superseded | hand | restore.
-type result() :: ok | {error, term()}.
-type group() :: #{
    seq := pos_integer(),
    kind := kind(),
    began := integer(),                             % native time
    callers := [gen_server:from()],
    failures := [failure()],
    pending := #{atom() => bc_gitops_goal:goal()}
}.
-type asked() :: #{
    seq := pos_integer(), kind := kind(), began := integer(),
    callers => [gen_server:from()], failures => [failure()]
}.
-type failure() :: #{app := atom(), action := atom(), reason := term(), commit := binary() | undefined}.

-record(goals, {
    outstanding = #{} :: #{atom() => bc_gitops_goal:goal()},    % the newest of each app, not settled
    dependents = #{} :: #{atom() => [atom()]},
    groups = [] :: [group()]
}).
-opaque goals() :: #goals{}.

-spec new() -> goals().
new() ->
    #goals{}.

%% @doc Goals that are about to be handed out.
-spec expect([bc_gitops_goal:goal()], goals()) -> goals().
expect(New, #goals{outstanding = Outstanding} = Goals) ->
    Goals#goals{outstanding = maps:merge(Outstanding, by_name(New))}.

%% @doc Goals that somebody waits for.
-spec hand_out([bc_gitops_goal:goal()], asked(), goals()) -> goals().
hand_out(New, Asked, Goals0) ->
    #goals{dependents = Dependents, groups = Groups} = Goals = expect(New, Goals0),
    Group = maps:merge(#{callers => [], failures => [], pending => by_name(New)}, Asked),
    Goals#goals{dependents = maps:merge(Dependents, dependents(New)), groups = [Group | Groups]}.

by_name(Goals) ->
    maps:from_list([{Name, Goal} || #{name := Name} = Goal <- Goals]).

dependents(Goals) ->
    lists:foldl(
        fun({Dep, Name}, Acc) -> Acc#{Dep => [Name | maps:get(Dep, Acc, [])]} end,
        #{},
        [{Dep, Name} || #{name := Name, 'after' := After} <- Goals, Dep <- After]
    ).

%% @doc The app's goal that is not settled.
-spec newest(atom(), goals()) -> {ok, bc_gitops_goal:goal()} | none.
newest(Name, #goals{outstanding = Outstanding}) ->
    case Outstanding of
        #{Name := Goal} -> {ok, Goal};
        #{} -> none
    end.

%% @doc The number of that goal; 0 when there is none.
-spec newest_seq(atom(), goals()) -> non_neg_integer().
newest_seq(Name, Goals) ->
    case newest(Name, Goals) of
        {ok, #{seq := Seq}} -> Seq;
        none -> 0
    end.

%% @doc How many apps have a goal that is not settled.
-spec count(goals()) -> non_neg_integer().
count(#goals{outstanding = Outstanding}) ->
    map_size(Outstanding).

%% @doc An app has settled its goals up to Seq. Answers who depends on it; `superseded' when a newer
%% goal is on its way to it. IsHere says whether something of it runs or ran well.
-spec settle(atom(), Seq :: non_neg_integer(), result(), IsHere :: boolean(), goals()) ->
    superseded | {Dependents :: [atom()], goals()}.
settle(Name, Seq, Result, IsHere, #goals{outstanding = Outstanding, groups = Groups} = Goals) ->
    Dependents = maps:get(Name, Goals#goals.dependents, []),
    case Outstanding of
        #{Name := #{seq := Newer}} when Newer > Seq ->
            superseded;
        #{Name := _} ->
            Counted = [counted(Name, Seq, Result, IsHere, Group) || Group <- Groups],
            {Dependents, Goals#goals{outstanding = maps:remove(Name, Outstanding), groups = Counted}};
        #{} ->
            {Dependents, Goals}
    end.

counted(Name, Seq, Result, IsHere, #{seq := GroupSeq, pending := Pending} = Group)
        when Seq >= GroupSeq, is_map_key(Name, Pending) ->
    {Goal, Rest} = maps:take(Name, Pending),
    case Result of
        ok ->
            Group#{pending := Rest};
        {error, Reason} ->
            #{failures := Failures} = Group,
            Group#{pending := Rest, failures := [failure(Goal, Reason, IsHere) | Failures]}
    end;
counted(_Name, _Seq, _Result, _IsHere, Group) ->
    Group.

failure(#{name := Name, what := What, commit := Commit}, Reason, IsHere) ->
    #{app => Name, action => action(What, IsHere), reason => Reason, commit => Commit}.

action(apply, true) -> upgrade;
action(apply, false) -> deploy;
action(blocked, _IsHere) -> plan;
action(What, _IsHere) -> What.

%% @doc Takes out the groups whose goals are all settled.
-spec done(goals()) -> {[group()], goals()}.
done(#goals{groups = Groups} = Goals) ->
    {Done, Waiting} = lists:partition(fun(#{pending := P}) -> map_size(P) =:= 0 end, Groups),
    {Done, Goals#goals{groups = Waiting}}.

%% @doc What the callers of a group that is done are told. Error is that of the last cycle: a call by
%% hand does not come from one.
-spec answer(group(), Error :: term()) -> result().
answer(#{kind := hand, failures := []}, _Error) ->
    ok;
answer(#{kind := hand, failures := [#{reason := Reason}]}, _Error) ->
    {error, Reason};
answer(_Group, Error) when Error =/= undefined ->
    {error, Error};
answer(#{failures := []}, _Error) ->
    ok;
answer(#{failures := Failures}, _Error) ->
    {error, {actions_failed, lists:sort(Failures)}}.

%% @doc Another cycle begins: those that are not done end here, though their callers wait on.
-spec supersede(goals()) -> {Ended :: [group()], goals()}.
supersede(#goals{groups = Groups} = Goals) ->
    {[Group || #{kind := cycle} = Group <- Groups],
     Goals#goals{groups = [superseded(Group) || Group <- Groups]}}.

superseded(#{kind := cycle} = Group) -> Group#{kind := superseded};
superseded(Group) -> Group.

%% @doc Nobody waits any more.
-spec abandon(goals()) -> {[gen_server:from()], goals()}.
abandon(#goals{groups = Groups} = Goals) ->
    {lists:flatmap(fun(#{callers := Callers}) -> Callers end, Groups), Goals#goals{groups = []}}.
