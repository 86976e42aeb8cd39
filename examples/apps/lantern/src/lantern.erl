%%% @doc Shines, and counts for how many.
-module(lantern).
-behaviour(gen_server).

-export([shine/0, version/0, start_link/0]).
-export([init/1, handle_call/3, handle_cast/2]).

%% @doc How many it has shone for, with this call.
-spec shine() -> pos_integer().
shine() ->
    gen_server:call(?MODULE, shine, 2000).

%% @doc The version that this code was written as.
-spec version() -> binary().
version() ->
    <<"1.0.0">>.

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

init([]) ->
    {ok, 0}.

handle_call(shine, _From, Count) ->
    {reply, Count + 1, Count + 1}.

handle_cast(_Other, Count) ->
    {noreply, Count}.
