%%% @doc A user's runtime with the four callbacks of 0.7 and nothing else. It owns an ETS table, as such
%%% modules do, and records through bct_recorder.
-module(bct_plain_runtime).
-behaviour(bc_gitops_runtime).

-export([deploy/1, remove/1, upgrade/2, reconfigure/1]).

-define(TABLE, bct_plain_runtime_table).

deploy(Spec) -> own(fun() -> bct_recorder:deploy(Spec) end).
remove(Name) -> own(fun() -> bct_recorder:remove(Name) end).
upgrade(Spec, Old) -> own(fun() -> bct_recorder:upgrade(Spec, Old) end).
reconfigure(Spec) -> own(fun() -> bct_recorder:reconfigure(Spec) end).

%% The table is made by the first call and must be there, and writable, at every later one.
own(Fun) ->
    case ets:whereis(?TABLE) of
        undefined -> ?TABLE = ets:new(?TABLE, [named_table, protected]);
        _ -> ok
    end,
    true = ets:insert(?TABLE, {last_call, self()}),
    Fun().
