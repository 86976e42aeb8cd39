%%% @doc Starts tally, and hands a changed environment to the running server.
-module(tally_app).
-behaviour(application).

-export([start/2, stop/1, config_change/3]).

start(_Type, _Args) ->
    tally_sup:start_link().

stop(_State) ->
    ok.

%% bc_gitops calls this when the environment in the specification changed: no restart is needed.
config_change(_Changed, _New, _Removed) ->
    tally_server:read_environment().
