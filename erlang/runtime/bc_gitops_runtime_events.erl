%%% @doc The runtime's telemetry events.
-module(bc_gitops_runtime_events).

-include("bc_gitops.hrl").

-export([loaded/2, purged/2]).

-spec loaded(atom(), [module()]) -> ok.
loaded(App, Modules) ->
    execute(?TELEMETRY_CODE_LOAD, App, Modules).

-spec purged(atom(), [module()]) -> ok.
purged(App, Modules) ->
    execute(?TELEMETRY_CODE_PURGE, App, Modules).

execute(_Event, _App, []) ->
    ok;
execute(Event, App, Modules) ->
    Metadata = #{app => App, modules => Modules},
    bc_gitops_telemetry:execute(Event, #{modules => length(Modules)}, Metadata).
