%%% @doc Keeps the host's logging as it is while Elixir's `logger' application starts or stops.
%%%
%%% Depending on its version it removes or changes the handler `default', changes the primary level
%%% and filters, and does or does not undo that when it stops.
-module(bc_gitops_logger_guard).

-export([around/2]).

%% @doc Runs Fun; when it starts or stops `logger', handlers and primary configuration are put back.
-spec around(atom(), fun(() -> Result)) -> Result.
around(logger, Fun) ->
    Primary = logger:get_primary_config(),
    Handlers = handlers(),
    try
        Fun()
    after
        restore(Primary, Handlers)
    end;
around(_App, Fun) ->
    Fun().

handlers() ->
    maps:from_list([{Id, Config} || #{id := Id} = Config <- logger:get_handler_config()]).

restore(Primary, Handlers) ->
    Now = handlers(),
    _ = [logger:remove_handler(Id) || Id <- maps:keys(Now), not is_map_key(Id, Handlers)],
    maps:foreach(
        fun(Id, Config) ->
            case Now of
                #{Id := Config} -> ok;
                #{Id := _} -> ok = reset(Id, Config);
                _ -> ok = add(Id, Config)
            end
        end,
        Handlers
    ),
    ok = logger:set_primary_config(Primary).

%% Configuration that only the handler itself may change is taken over by adding it anew.
reset(Id, Config) ->
    case logger:set_handler_config(Id, maps:without([id, module], Config)) of
        ok ->
            ok;
        {error, _} ->
            _ = logger:remove_handler(Id),
            add(Id, Config)
    end.

add(Id, #{module := Module} = Config) ->
    logger:add_handler(Id, Module, maps:without([id, module], Config)).
