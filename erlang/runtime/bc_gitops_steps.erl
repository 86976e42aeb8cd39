%%% @doc One thing after the other, until one is not `ok'.
-module(bc_gitops_steps).

-export([steps/1, each/2]).

%% @doc Takes the steps in their order. Answers what the last one does, or the first that is not `ok'.
-spec steps([fun(() -> ok | Answer)]) -> ok | Answer.
steps([]) ->
    ok;
steps([Last]) ->
    Last();
steps([Step | Rest]) ->
    case Step() of
        ok -> steps(Rest);
        NotOk -> NotOk
    end.

%% @doc The same for each item of a list.
-spec each([Item], fun((Item) -> ok | Answer)) -> ok | Answer.
each([], _Fun) ->
    ok;
each([Item | Rest], Fun) ->
    case Fun(Item) of
        ok -> each(Rest, Fun);
        NotOk -> NotOk
    end.
