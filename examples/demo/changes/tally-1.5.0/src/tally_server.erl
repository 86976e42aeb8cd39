%% @doc Holds the total. This version compiles, and cannot take over the state of the running process.
-module(tally_server).
-behaviour(gen_server).

-export([start_link/0, read_environment/0]).
-export([init/1, handle_call/3, handle_cast/2, code_change/3]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Takes the step from the application's environment again.
read_environment() ->
    gen_server:call(?MODULE, read_environment).

%% Without beacon there is no ticket and no start: this is why the specification says depends_on.
init([]) ->
    {ok, #{total => 0, step => step(), ticket => beacon:ticket()}}.

handle_call({hit, Version}, _From, #{total := Total, step := Step} = State) ->
    New = Total + Step,
    Answer = #{total => New, step => Step, version => Version, server => self()},
    {reply, Answer, State#{total := New}};
handle_call(total, _From, #{total := Total} = State) ->
    {reply, Total, State};
handle_call(read_environment, _From, State) ->
    {reply, ok, State#{step := step()}}.

handle_cast(_Other, State) ->
    {noreply, State}.

code_change(_Vsn, _State, _Extra) ->
    {error, state_of_unknown_shape}.

step() ->
    application:get_env(tally, step, 1).
