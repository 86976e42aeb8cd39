%%% @doc One server, restarted when it crashes.
-module(tally_sup).
-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    Server = #{id => tally_server, start => {tally_server, start_link, []}},
    {ok, {#{strategy => one_for_one}, [Server]}}.
