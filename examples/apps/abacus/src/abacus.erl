%%% @doc Adds up what it is told, and shows the sum as rows of beads.
-module(abacus).
-behaviour(gen_server).

-export([add/1, version/0, start_link/0]).
-export([init/1, handle_call/3, handle_cast/2]).

%% @doc Adds a number; answers the rows of the sum, the units first.
-spec add(non_neg_integer()) -> [0..9].
add(Number) ->
    gen_server:call(?MODULE, {add, Number}, 2000).

%% @doc The version that this code was written as.
-spec version() -> binary().
version() ->
    <<"1.0.0">>.

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

init([]) ->
    {ok, 0}.

handle_call({add, Number}, _From, Sum) ->
    {reply, beads:rows(Sum + Number), Sum + Number}.

handle_cast(_Other, Sum) ->
    {noreply, Sum}.
