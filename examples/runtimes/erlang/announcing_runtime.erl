%%% @doc A runtime of one's own: what the default runtime does, and a note on who did it to whom.
%%%
%%% The first four callbacks are enough. With `prepare/1' and `restore/2' as well, applications are built
%%% side by side, and what ran is there again after a restart of the node, also when the repository does
%%% not answer. Each callback runs in a process that bc_gitops owns, has a deadline, and may crash
%%% without harm. Name the module in the configuration: `{runtime_module, announcing_runtime}'.
-module(announcing_runtime).
-behaviour(bc_gitops_runtime).

-include_lib("bc_gitops/include/bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([deploy/1, remove/1, upgrade/2, reconfigure/1, prepare/1, restore/2]).

deploy(#app_spec{name = Name, version = Version} = Spec) ->
    announce(Name, ["arrives: ", Version], bc_gitops_runtime_default:deploy(Spec)).

remove(Name) ->
    announce(Name, "leaves", bc_gitops_runtime_default:remove(Name)).

upgrade(#app_spec{name = Name, version = Version} = Spec, Old) ->
    Result = bc_gitops_runtime_default:upgrade(Spec, Old),
    announce(Name, ["goes from ", Old, " to ", Version], Result).

reconfigure(#app_spec{name = Name} = Spec) ->
    announce(Name, "gets a new environment", bc_gitops_runtime_default:reconfigure(Spec)).

prepare(Spec) ->
    bc_gitops_runtime_default:prepare(Spec).

restore(#app_spec{name = Name, version = Version} = Spec, Key) ->
    announce(Name, ["is back: ", Version], bc_gitops_runtime_default:restore(Spec, Key)).

%% The result goes back as it came: bc_gitops judges by it.
announce(Name, What, Result) ->
    case Result of
        {error, Reason} -> ?LOG_WARNING("~ts ~ts: failed: ~0tp", [Name, What, Reason]);
        _ -> ?LOG_NOTICE("~ts ~ts", [Name, What])
    end,
    Result.
