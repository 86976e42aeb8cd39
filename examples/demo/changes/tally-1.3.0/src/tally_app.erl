%%% @doc This version compiles, and then asks at its start for a setting that nobody has given.
-module(tally_app).
-behaviour(application).

-export([start/2, stop/1, config_change/3]).

start(_Type, _Args) ->
    case application:get_env(tally, database) of
        {ok, _Database} -> tally_sup:start_link();
        undefined -> {error, {missing_setting, database}}
    end.

stop(_State) ->
    ok.

config_change(_Changed, _New, _Removed) ->
    tally_server:read_environment().
