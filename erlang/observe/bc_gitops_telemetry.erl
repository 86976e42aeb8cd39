%%% @doc Where events go: to the `telemetry' application where it runs, and to handlers of our own.
%%%
%%% The functions have the shapes and the behaviour of `telemetry''s. Where that application runs,
%%% `attach/4' and its like go there, so that handlers attached with either are the same. Where it
%%% does not, handlers are kept in a table whose owner is this process; without the owner, while
%%% bc_gitops is not started, events go nowhere and nothing fails.
%%%
%%% Handlers run in the process that the event happens in. One that fails is detached and logged,
%%% and `[telemetry, handler, failure]' tells of it. No event carries a credential.
-module(bc_gitops_telemetry).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

-export([execute/2, execute/3, attach/4, attach_many/4, detach/1, list_handlers/1]).
-export([child_specs/0, start_link/0]).
-export([init/1, handle_call/3, handle_cast/2]).

-export_type([event/0, prefix/0, measurements/0, metadata/0, handler_id/0, handler/0]).

-define(TABLE, ?MODULE).

-type event() :: [atom(), ...].
-type prefix() :: [atom()].
-type measurements() :: #{atom() => term()}.
-type metadata() :: #{atom() => term()}.
-type handler_id() :: term().
-type handler() :: #{id := handler_id(), event_name := event(), function := handler_function(),
                     config := term()}.
-type handler_function() :: fun((event(), measurements(), metadata(), Config :: term()) -> any()).
-type not_started() :: {not_started, #{application := bc_gitops}}.

%% @doc As `execute(Event, Measurements, #{})'.
-spec execute(event(), measurements()) -> ok.
execute(Event, Measurements) ->
    execute(Event, Measurements, #{}).

%% @doc Calls each handler of exactly this event. Durations are in native time units.
-spec execute(event(), measurements(), metadata()) -> ok.
execute([_ | _] = Event, Measurements, Metadata) when is_map(Measurements), is_map(Metadata) ->
    case application() of
        none -> ok;
        Telemetry -> ok = Telemetry:execute(Event, Measurements, Metadata)
    end,
    execute_own(Event, Measurements, Metadata).

%% @doc As `attach_many(Id, [Event], Function, Config)'.
-spec attach(handler_id(), event(), handler_function(), Config :: term()) ->
    ok | {error, already_exists | not_started()}.
attach(Id, Event, Function, Config) ->
    attach_many(Id, [Event], Function, Config).

%% @doc Has Function called as `Function(Event, Measurements, Metadata, Config)' at each of Events.
-spec attach_many(handler_id(), [event()], handler_function(), Config :: term()) ->
    ok | {error, already_exists | not_started()}.
attach_many(Id, Events, Function, Config) when is_list(Events), is_function(Function, 4) ->
    case application() of
        none -> call({attach, Id, Events, Function, Config});
        Telemetry -> attach_there(Telemetry, Id, Events, Function, Config)
    end.

%% @doc Ends what `attach/4' or `attach_many/4' began.
-spec detach(handler_id()) -> ok | {error, not_found}.
detach(Id) ->
    case {call({detach, Id}), application()} of
        {ok, _} -> ok;
        {{error, _}, none} -> {error, not_found};
        {{error, _}, Telemetry} -> Telemetry:detach(Id)
    end.

%% @doc The handlers of all events that begin with Prefix.
-spec list_handlers(prefix()) -> [handler()].
list_handlers(Prefix) when is_list(Prefix) ->
    Own = [handler(Row) || {Event, _, _, _} = Row <- rows(), lists:prefix(Prefix, Event)],
    case application() of
        none -> Own;
        Telemetry -> Telemetry:list_handlers(Prefix) ++ Own
    end.

%% @doc The owner of the table.
-spec child_specs() -> [supervisor:child_spec()].
child_specs() ->
    [#{id => ?MODULE, start => {?MODULE, start_link, []}}].

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case gen_server:start_link({local, ?MODULE}, ?MODULE, [], []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

-spec init([]) -> {ok, no_state}.
init([]) ->
    ?TABLE = ets:new(?TABLE, [duplicate_bag, protected, named_table, {read_concurrency, true}]),
    {ok, no_state}.

-spec handle_call(term(), gen_server:from(), no_state) -> {reply, term(), no_state}.
handle_call({attach, Id, Events, Function, Config}, _From, State) ->
    {reply, insert(is_attached(Id), Id, Events, Function, Config), State};
handle_call({detach, Id}, _From, State) ->
    Attached = is_attached(Id),
    true = ets:match_delete(?TABLE, {'_', Id, '_', '_'}),
    {reply, if Attached -> ok; true -> {error, not_found} end, State};
handle_call(_Other, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), no_state) -> {noreply, no_state}.
handle_cast(_Other, State) ->
    {noreply, State}.

insert(true, _Id, _Events, _Function, _Config) ->
    {error, already_exists};
insert(false, Id, Events, Function, Config) ->
    true = ets:insert(?TABLE, [{Event, Id, Function, Config} || Event <- lists:usort(Events)]),
    ok.

is_attached(Id) ->
    lists:any(fun({_, Other, _, _}) -> Other =:= Id end, rows()).

%% An identifier counts for both places: a handler may be older than the start of telemetry.
attach_there(Telemetry, Id, Events, Function, Config) ->
    case is_attached(Id) of
        true -> {error, already_exists};
        false -> Telemetry:attach_many(Id, Events, Function, Config)
    end.

execute_own(Event, Measurements, Metadata) ->
    lists:foreach(fun(Row) -> handle(Row, Measurements, Metadata) end, rows(Event)).

handle({Event, Id, Function, Config}, Measurements, Metadata) ->
    try
        _ = Function(Event, Measurements, Metadata, Config),
        ok
    catch
        Class:Reason:Stacktrace ->
            _ = call({detach, Id}),
            ?LOG_ERROR("Handler ~tp has failed and has been detached. "
                       "Class=~tp~nReason=~tp~nStacktrace=~tp~n",
                       [Id, Class, Reason, Stacktrace]),
            Failure = #{event_name => Event, handler_id => Id, handler_config => Config,
                        kind => Class, reason => Reason, stacktrace => Stacktrace},
            Times = #{monotonic_time => erlang:monotonic_time(),
                      system_time => erlang:system_time()},
            execute_own([telemetry, handler, failure], Times, Failure)
    end.

handler({Event, Id, Function, Config}) ->
    #{id => Id, event_name => Event, function => Function, config => Config}.

%% The table goes with its owner, at any moment.
rows() ->
    try ets:tab2list(?TABLE) catch error:badarg -> [] end.

rows(Event) ->
    try ets:lookup(?TABLE, Event) catch error:badarg -> [] end.

call(Request) ->
    try
        gen_server:call(?MODULE, Request)
    catch
        exit:_NoOwner -> {error, {not_started, #{application => bc_gitops}}}
    end.

%% Asked of a table, not of the application controller: that one may be busy. There is no call of
%% `telemetry' by its name, since it may be nowhere.
application() ->
    case application_controller:get_master(telemetry) of
        undefined -> none;
        _Master -> binary_to_existing_atom(<<"telemetry">>)
    end.
