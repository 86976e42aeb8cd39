%%% @doc Starts lantern: a supervisor with one server.
-module(lantern_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

start(_Type, _Args) ->
    supervisor:start_link({local, lantern_sup}, ?MODULE, []).

stop(_State) ->
    ok.

init([]) ->
    {ok, {#{strategy => one_for_one}, [#{id => lantern, start => {lantern, start_link, []}}]}}.
