-module(bc_gitops_logger_guard_tests).
-include_lib("eunit/include/eunit.hrl").

config() ->
    {logger:get_primary_config(), lists:sort(logger:get_handler_config())}.

%% What Elixir's logger of different versions does to a host.
meddle() ->
    {ok, #{module := Module} = Config} = logger:get_handler_config(default),
    ok = logger:update_handler_config(default, level, error),
    ok = logger:add_handler(rt_added, Module, #{}),
    ok = logger:set_primary_config(level, debug),
    ok = logger:add_primary_filter(rt_filter, {fun(Event, _) -> Event end, none}),
    Config.

everything_is_put_back_test() ->
    ok = present(),
    Before = config(),
    bc_gitops_logger_guard:around(logger, fun meddle/0),
    ?assertEqual(Before, config()),
    bc_gitops_logger_guard:around(logger, fun() -> ok = logger:remove_handler(default) end),
    ?assertEqual(Before, config()).

also_when_it_fails_test() ->
    ok = present(),
    Before = config(),
    ?assertError(oops, bc_gitops_logger_guard:around(logger, fun() -> _ = meddle(), error(oops) end)),
    ?assertEqual(Before, config()).

other_applications_may_do_it_test() ->
    ok = present(),
    Level = maps:get(level, logger:get_primary_config()),
    ?assertEqual(done, bc_gitops_logger_guard:around(rt_app, fun() ->
        ok = logger:set_primary_config(level, debug),
        done
    end)),
    ?assertEqual(debug, maps:get(level, logger:get_primary_config())),
    ok = logger:set_primary_config(level, Level).

%% eunit may run without the handler `default'.
present() ->
    case logger:get_handler_config(default) of
        {ok, _} -> ok;
        {error, _} -> logger:add_handler(default, logger_std_h, #{})
    end.
