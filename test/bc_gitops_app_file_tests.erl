-module(bc_gitops_app_file_tests).
-include_lib("eunit/include/eunit.hrl").

app(Name, Keys) ->
    {Name, {application, Name, Keys}}.

start_order_is_dependencies_first_test() ->
    Apps = maps:from_list([
        app(a, [{applications, [kernel, b, c]}]),
        app(b, [{applications, [kernel, c]}]),
        app(c, [{applications, [kernel]}]),
        app(unused, [])
    ]),
    ?assertEqual([c, b, a], bc_gitops_app_file:start_order(a, Apps)).

start_order_survives_a_cycle_test() ->
    Apps = maps:from_list([app(a, [{applications, [b]}]), app(b, [{applications, [a]}])]),
    ?assertEqual([b, a], bc_gitops_app_file:start_order(a, Apps)).

what_an_included_application_needs_starts_first_test() ->
    Apps = maps:from_list([
        app(a, [{included_applications, [i]}]), app(i, [{applications, [n]}]), app(n, [])
    ]),
    ?assertEqual([n, a], bc_gitops_app_file:start_order(a, Apps)).

optional_applications_are_not_required_test() ->
    {_, Description} = app(a, [{applications, [kernel, x]}, {optional_applications, [x]}]),
    ?assertEqual({[kernel], [x]}, bc_gitops_app_file:needs(Description)).

reading_names_what_is_wrong_test() ->
    bct_dir:with("app", fun(Dir) ->
        File = filename:join([Dir, "ebin", "a.app"]),
        ok = filelib:ensure_dir(File),
        ?assertMatch({error, {bad_app_file, #{reason := enoent}}}, bc_gitops_app_file:read(Dir, a)),
        ok = file:write_file(File, "{application, b, []}."),
        ?assertMatch({error, {bad_app_file, #{app := a}}}, bc_gitops_app_file:read(Dir, a)),
        ok = file:write_file(File, "{application, a, [{vsn, \"1\"}]}."),
        {ok, Description} = bc_gitops_app_file:read(Dir, a),
        ?assertEqual("1", bc_gitops_app_file:value(vsn, Description, none))
    end).
