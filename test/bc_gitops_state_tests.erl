-module(bc_gitops_state_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

with_dir(Test) ->
    bct_dir:with("bc_gitops_state", fun(Dir) ->
        Config = #{
            state_path => filename:join(Dir, <<"state">>), local_path => filename:join(Dir, <<"clone">>)
        },
        ok = bc_gitops_state:open(Config),
        try Test(Config) after bc_gitops_state:close(Config) end
    end).

apps_dir(#{state_path := StatePath}) -> filename:join(StatePath, <<"apps">>).

what_is_written_is_read_test() ->
    with_dir(fun(#{state_path := Path}) ->
        App = (bc_gitops_state:new(my_app))#{commit => <<"abc">>, pinned => <<"def">>},
        ok = bc_gitops_state:write_app(Path, App),
        ?assertEqual({ok, [App], []}, bc_gitops_state:read_apps(Path)),
        ok = bc_gitops_state:delete_app(Path, my_app),
        ok = bc_gitops_state:delete_app(Path, my_app),
        ?assertEqual({ok, [], []}, bc_gitops_state:read_apps(Path))
    end).

specifications_of_an_older_version_are_completed_test() ->
    with_dir(fun(#{state_path := Path}) ->
        Spec = #app_spec{name = my_app, version = <<"1">>},
        Older = list_to_tuple(lists:droplast(tuple_to_list(Spec))),
        State = fun(Of) ->
            Revision = #{version => <<"1">>, spec => Of},
            (bc_gitops_state:new(my_app))#{current => Revision, confirmed => Revision,
                                           switch => #{target => Revision, at => 1}}
        end,
        ok = bc_gitops_state:write_app(Path, State(Older)),
        ?assertEqual({ok, [State(Spec)], []}, bc_gitops_state:read_apps(Path))
    end).

names_that_file_systems_may_mix_up_have_files_of_their_own_test() ->
    with_dir(fun(#{state_path := Path} = Config) ->
        Names = [app, 'aPP', 'a@b', 'a/../../b'],
        [ok = bc_gitops_state:write_app(Path, bc_gitops_state:new(Name)) || Name <- Names],
        {ok, Apps, []} = bc_gitops_state:read_apps(Path),
        ?assertEqual(lists:sort(Names), lists:sort([Name || #{name := Name} <- Apps])),
        {ok, Files} = file:list_dir(apps_dir(Config)),
        ?assertEqual(4, length(Files))
    end).

a_torn_file_is_put_aside_and_named_test() ->
    with_dir(fun(#{state_path := Path} = Config) ->
        ok = bc_gitops_state:write_app(Path, bc_gitops_state:new(good)),
        ok = bc_gitops_state:write_app(Path, bc_gitops_state:new(torn)),
        File = binary_to_list(filename:join(apps_dir(Config), "torn.app")),
        {ok, Whole} = file:read_file(File),
        ok = file:write_file(File, binary:part(Whole, 0, byte_size(Whole) - 3)),
        {ok, Apps, Problems} = bc_gitops_state:read_apps(Path),
        ?assertMatch([#{name := good}], Apps),
        ?assertMatch([#{reason := bad_checksum}], Problems),
        ?assert(filelib:is_regular(File ++ ".unreadable")),
        ?assertMatch({ok, [_], []}, bc_gitops_state:read_apps(Path))
    end).

a_file_of_a_newer_format_stays_where_it_is_test() ->
    with_dir(fun(#{state_path := Path} = Config) ->
        File = filename:join(apps_dir(Config), "later.app"),
        Body = term_to_binary(#{name => later}),
        ok = file:write_file(File, ["bc_gitops state 2\n", <<(erlang:crc32(Body)):32>>, Body]),
        ?assertMatch({ok, [], [#{reason := {unknown_format, <<"2">>}}]}, bc_gitops_state:read_apps(Path)),
        ?assert(filelib:is_regular(File))
    end).

an_unfinished_write_is_not_read_test() ->
    with_dir(fun(#{state_path := Path} = Config) ->
        ok = file:write_file(filename:join(apps_dir(Config), "half.app.new"), "bc_git"),
        ?assertEqual({ok, [], []}, bc_gitops_state:read_apps(Path)),
        ?assertEqual({ok, []}, file:list_dir(apps_dir(Config)))
    end).

a_disk_that_takes_nothing_is_an_error_and_no_crash_test() ->
    with_dir(fun(#{state_path := Path} = Config) ->
        Dir = apps_dir(Config),
        ok = file:del_dir_r(Dir),
        ok = file:write_file(Dir, "in the way"),
        Result = bc_gitops_state:write_app(Path, bc_gitops_state:new(my_app)),
        ?assertMatch({error, {state_not_written, #{reason := enotdir}}}, Result),
        {error, Reason} = Result,
        ?assert(is_list(unicode:characters_to_list(bc_gitops_state:format_error(Reason))))
    end).

the_state_directory_is_private_test() ->
    with_dir(fun(#{state_path := Path}) ->
        {ok, Info} = file:read_file_info(Path),
        ?assertEqual(8#700, element(8, Info) band 8#777)
    end).

a_directory_that_all_may_write_is_refused_test() ->
    bct_dir:with("bc_gitops_state", fun(Dir) ->
        State = filename:join(Dir, <<"state">>),
        ok = filelib:ensure_path(State),
        ok = file:change_mode(State, 8#777),
        Config = #{state_path => State, local_path => filename:join(Dir, <<"clone">>)},
        ?assertMatch(
            {error, {bad_directory, #{reason := writable_by_others}}}, bc_gitops_state:open(Config)
        )
    end).

the_repository_is_remembered_test() ->
    with_dir(fun(#{state_path := Path}) ->
        ?assertEqual(#{}, bc_gitops_state:read_repo(Path)),
        ok = bc_gitops_state:write_repo(Path, #{commit => <<"c">>}),
        ?assertEqual(#{commit => <<"c">>}, bc_gitops_state:read_repo(Path))
    end).
