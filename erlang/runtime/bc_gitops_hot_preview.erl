%%% @doc Says of planned upgrades how they would be done, as far as that can be known before: the new
%%% build may be in the store already. Changes nothing.
-module(bc_gitops_hot_preview).

-include("bc_gitops.hrl").

-export([add/3]).

-type goal() :: #{name := atom(), what := atom(), spec => #app_spec{}, wanted => binary() | unknown, _ => _}.

%% @doc The actions of a plan; upgrades with `how', a text that begins with `hot', `restart' or `decided'.
-spec add([#{action := atom(), name := atom(), _ => _}], [goal()], Runtime :: module()) -> [map()].
add(Actions, Goals, bc_gitops_runtime_default) ->
    Wanted = maps:from_list([{Name, {Spec, Ref}} || #{name := Name, spec := Spec, wanted := Ref} <- Goals]),
    [with_how(Action, Wanted) || Action <- Actions];
add(Actions, _Goals, _Runtime) ->
    Actions.

with_how(#{action := upgrade, name := Name} = Action, Wanted) ->
    case Wanted of
        #{Name := {Spec, Revision}} -> Action#{how => how(Spec, Revision)};
        #{} -> Action
    end;
with_how(Action, _Wanted) ->
    Action.

how(#app_spec{name = Name, version = Version} = Spec, Revision) ->
    case {bc_gitops_runtime_table:find(Name), bc_gitops_workspace:prepared(Name, source(Spec))} of
        {{ok, #{build := #{key := Old} = Runs}}, {ok, #{key := New, version := Version} = Comes}} when Old =/= New ->
            case is_of(Comes, Revision) of
                true -> judged(Spec, Runs, Comes);
                false -> unknown()
            end;
        _ ->
            unknown()
    end.

unknown() ->
    <<"decided when it is built">>.

source(#app_spec{source = undefined}) -> #source_spec{};
source(#app_spec{source = Source}) -> Source.

is_of(_Build, unknown) -> true;
is_of(#{revision := Revision}, Wanted) -> Revision =:= Wanted.

judged(#app_spec{name = Name} = Spec, #{libs := Old} = Runs, #{libs := New} = Comes) ->
    Changed = [{Is, Lib} || #{name := N, modules := Modules} = Lib <- New,
                            #{name := M, modules := Before} = Is <- Old,
                            N =:= M, N =:= Name orelse Modules =/= Before],
    {Own, Others} = lists:partition(fun({#{name := N}, _}) -> N =:= Name end, Changed),
    case bc_gitops_hot_switch:judge(Spec, Runs, Comes, Own ++ Others) of
        {hot, _Steps, _Direction} -> <<"hot">>;
        {restart, Because} -> bc_gitops_hot_switch:describe(#{upgraded => restart, because => Because})
    end.
