%%% @doc What must come first for an app's goal, and how that came out. Pure.
-module(bc_gitops_app_deps).

-export([none/0, new/1, heard/3, outcome/1, waiting/1]).

-export_type([deps/0]).

-type deps() :: #{atom() => waiting | done | failed}.

-spec none() -> deps().
none() ->
    #{}.

-spec new(bc_gitops_goal:goal()) -> deps().
new(#{'after' := Names}) ->
    maps:from_list([{Name, waiting} || Name <- Names]).

%% @doc How a dependency came out; `unknown' when nothing here depends on it.
-spec heard(atom(), ok | error, deps()) -> deps() | unknown.
heard(Name, Result, Deps) when is_map_key(Name, Deps) ->
    Deps#{Name := case Result of ok -> done; error -> failed end};
heard(_Name, _Result, _Deps) ->
    unknown.

%% @doc One that failed comes before those that are still waited for.
-spec outcome(deps()) -> done | waiting | {failed, atom()}.
outcome(Deps) ->
    case {lists:sort([Name || {Name, failed} <- maps:to_list(Deps)]), waiting(Deps)} of
        {[Name | _], _} -> {failed, Name};
        {[], [_ | _]} -> waiting;
        {[], []} -> done
    end.

-spec waiting(deps()) -> [atom()].
waiting(Deps) ->
    [Name || {Name, waiting} <- maps:to_list(Deps)].
