%%% @doc Starts abacus: a supervisor with one server.
-module(abacus_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

start(_Type, _Args) ->
    supervisor:start_link({local, abacus_sup}, ?MODULE, []).

stop(_State) ->
    ok.

init([]) ->
    {ok, {#{strategy => one_for_one}, [#{id => abacus, start => {abacus, start_link, []}}]}}.
