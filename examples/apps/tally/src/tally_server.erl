%%% @doc Holds the total. It starts from zero with its process: the demo tells by this whether an
%%% application was restarted or merely given a new environment.
-module(tally_server).
-behaviour(gen_server).

-export([start_link/0, read_environment/0]).
-export([init/1, handle_call/3, handle_cast/2]).

-record(state, {total = 0 :: integer(), step :: integer(), ticket :: pos_integer()}).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Takes the step from the application's environment again.
read_environment() ->
    gen_server:call(?MODULE, read_environment).

%% Without beacon there is no ticket and no start: this is why the specification says depends_on.
init([]) ->
    {ok, #state{step = step(), ticket = beacon:ticket()}}.

handle_call({hit, Version}, _From, #state{total = Total, step = Step} = State) ->
    New = Total + Step,
    Answer = #{total => New, step => Step, version => Version, server => self()},
    {reply, Answer, State#state{total = New}};
handle_call(total, _From, State) ->
    {reply, State#state.total, State};
handle_call(read_environment, _From, State) ->
    {reply, ok, State#state{step = step()}}.

handle_cast(_Other, State) ->
    {noreply, State}.

step() ->
    application:get_env(tally, step, 1).
