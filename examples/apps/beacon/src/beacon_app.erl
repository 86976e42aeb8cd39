%%% @doc Starts beacon: a supervisor with one server.
-module(beacon_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

start(_Type, _Args) ->
    supervisor:start_link({local, beacon_sup}, ?MODULE, []).

stop(_State) ->
    ok.

init([]) ->
    {ok, {#{strategy => one_for_one}, [#{id => beacon, start => {beacon, start_link, []}}]}}.
