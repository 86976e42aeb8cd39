%%% @doc Gives out tickets, each number once.
-module(beacon).
-behaviour(gen_server).

-export([ticket/0, version/0, start_link/0]).
-export([init/1, handle_call/3, handle_cast/2]).

%% @doc The next number.
-spec ticket() -> pos_integer().
ticket() ->
    gen_server:call(?MODULE, ticket, 2000).

%% @doc The version that this code was written as.
-spec version() -> binary().
version() ->
    <<"1.0.0">>.

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

init([]) ->
    {ok, application:get_env(beacon, first_ticket, 1)}.

handle_call(ticket, _From, Next) ->
    {reply, Next, Next + 1}.

handle_cast(_Other, Next) ->
    {noreply, Next}.
