-module(bc_gitops_parser_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

%% A map

minimal_map_has_the_defaults_test() ->
    {ok, Spec} = bc_gitops_parser:parse_app_config(#{name => my_app, version => <<"1.0.0">>}),
    ?assertMatch(
        #app_spec{
            name = my_app, version = <<"1.0.0">>, description = undefined, env = Env, health = undefined,
            source = #source_spec{type = hex, ref = <<"1.0.0">>, url = undefined}, depends_on = [], isolation = embedded,
            vm_config = undefined
        } when Env =:= #{},
        Spec
    ),
    #icon_spec{type = identicon, value = <<"data:image/svg+xml", _/binary>>, mime_type = <<"image/svg+xml">>} = Spec#app_spec.icon.

full_map_is_a_full_record_test() ->
    Config = #{
        name => my_app, version => "1.2.3", description => <<"text">>,
        icon => #{type => url, value => <<"https://host/icon.png">>, mime_type => <<"image/png">>},
        source => #{type => git, url => <<"git@host.example:a/b.git">>, ref => <<"v1.2.3">>},
        env => #{port => 1, pid => self()},
        health => #{type => custom, module => my_health, interval => 10, timeout => 5},
        depends_on => [other, <<"third">>], isolation => vm,
        vm_config => #{memory_limit => 512, scheduler_limit => 2, node_prefix => <<"n">>, extra_args => [<<"+K">>, <<"true">>]}
    },
    ?assertEqual(
        {ok, #app_spec{
            name = my_app, version = <<"1.2.3">>, description = <<"text">>,
            icon = #icon_spec{type = url, value = <<"https://host/icon.png">>, mime_type = <<"image/png">>},
            source = #source_spec{type = git, url = <<"git@host.example:a/b.git">>, ref = <<"v1.2.3">>},
            env = #{port => 1, pid => self()},
            health = #health_spec{type = custom, port = 8080, module = my_health, interval = 10, timeout = 5},
            depends_on = [other, third], isolation = vm,
            vm_config = #vm_config{memory_limit = 512, scheduler_limit = 2, node_prefix = <<"n">>, extra_args = [<<"+K">>, <<"true">>]}
        }},
        bc_gitops_parser:parse_app_config(Config)
    ).

a_map_with_binary_keys_is_read_test() ->
    ?assertMatch(
        {ok, #app_spec{name = my_app, env = #{port := 1}}},
        bc_gitops_parser:parse_app_config(#{<<"name">> => <<"my_app">>, <<"version">> => <<"1">>, <<"env">> => #{<<"port">> => 1}})
    ).

errors_of_a_map_have_the_shapes_of_0_7_test_() ->
    Parse = fun bc_gitops_parser:parse_app_config/1,
    Base = #{name => a, version => <<"1">>},
    [?_assertEqual(Expected, Parse(Config)) || {Config, Expected} <- [
        {#{}, {error, {missing_field, name}}},
        {#{name => a}, {error, {missing_field, version}}},
        {Base#{version := 1.10}, {error, {invalid_type, version, binary, 1.10}}},
        {Base#{name := 5}, {error, {invalid_type, name, atom, 5}}},
        {Base#{name := '../x'}, {error, {invalid_value, name, atom, '../x'}}},
        {Base#{env => 5}, {error, {invalid_type, env, map, 5}}},
        {Base#{env => [1]}, {error, {invalid_type, env, map, [1]}}},
        {Base#{source => git}, {error, {invalid_type, source, map, git}}},
        {Base#{source => #{type => git}}, {error, {missing_field, url}}},
        {Base#{source => #{type => svn}}, {error, {invalid_value, type, atom, svn}}},
        {Base#{isolation => docker}, {error, {invalid_value, isolation, atom, docker}}},
        {Base#{depends_on => b}, {error, {invalid_type, depends_on, list, b}}},
        {Base#{health => #{port => 0}}, {error, {invalid_value, port, pos_integer, 0}}},
        {not_a_map, {error, {invalid_type, spec, map, not_a_map}}}
    ]].

a_map_that_is_nested_too_deep_is_an_error_test() ->
    Deep = lists:foldl(fun(_, Inner) -> #{x => Inner} end, 1, lists:seq(1, 5000)),
    ?assertEqual({error, {too_deep, spec}}, bc_gitops_parser:parse_app_config(#{name => a, version => <<"1">>, env => Deep})).

an_icon_is_drawn_when_asked_for_or_not_test() ->
    Drawn = bc_gitops_identicon:to_data_uri(a),
    [?assertMatch({ok, #app_spec{icon = #icon_spec{type = identicon, value = Drawn}}},
                  bc_gitops_parser:parse_app_config(Icon#{name => a, version => <<"1">>}))
     || Icon <- [#{}, #{icon => undefined}, #{icon => #{type => identicon}}]].

%% A record

records_of_any_version_become_specs_test() ->
    {ok, Spec} = bc_gitops_parser:parse_app_config(#{
        name => a, version => <<"1">>, env => #{x => 1}, source => #{type => git, url => <<"https://h/x">>}, health => #{}, vm_config => #{}
    }),
    ?assertEqual({ok, Spec}, bc_gitops_parser:to_spec(Spec)),
    Older = list_to_tuple(lists:sublist(tuple_to_list(Spec), 9)),
    ?assertEqual({ok, Spec#app_spec{depends_on = [], isolation = embedded, vm_config = undefined}}, bc_gitops_parser:to_spec(Older)),
    Hot = Spec#app_spec{upgrade = #{strategy => hot, force => true}},
    ?assertEqual({ok, Hot}, bc_gitops_parser:to_spec(Hot)),
    Of07 = list_to_tuple(lists:sublist(tuple_to_list(Hot), 11)),
    ?assertEqual({ok, Spec}, bc_gitops_parser:to_spec(Of07)),
    ?assertEqual({Spec, Hot}, {bc_gitops_runtime:spec(Of07), bc_gitops_runtime:spec(Hot)}),
    ?assertError(function_clause, bc_gitops_runtime:spec({other, a})),
    ?assertEqual({ok, Spec}, bc_gitops_parser:to_spec(#{
        name => a, version => <<"1">>, env => #{x => 1}, source => #{type => git, url => <<"https://h/x">>}, health => #{}, vm_config => #{}
    })).

bad_records_are_refused_test_() ->
    [?_assertMatch({error, _}, bc_gitops_parser:to_spec(Bad)) || Bad <- [
        {app_spec}, {other, a, b}, #app_spec{name = '../x', version = <<"1">>}, #app_spec{name = a},
        #app_spec{name = a, version = <<"1">>, source = #source_spec{type = git, url = <<"--upload-pack=x">>}},
        erlang:append_element(#app_spec{name = a, version = <<"1">>}, too_new), [], 5
    ]].

fingerprints_of_records_and_specs_agree_test() ->
    {ok, Spec} = bc_gitops_parser:parse_app_config(#{name => a, version => <<"1">>, env => #{x => #{self() => [1.0, "é", <<1:3>>]}}}),
    {Source, Env} = bc_gitops_native:spec_fingerprint(Spec),
    ?assertEqual({32, 32}, {byte_size(Source), byte_size(Env)}),
    ?assertEqual({Source, Env}, bc_gitops_native:spec_fingerprint(Spec#app_spec{description = <<"other">>, health = #health_spec{}})),
    {Source, Other} = bc_gitops_native:spec_fingerprint(Spec#app_spec{env = #{}}),
    ?assertNotEqual(Env, Other),
    ?assertError(badarg, bc_gitops_native:spec_fingerprint({no_spec, a})).

%% A choice for the next upgrade is no change of what runs.
the_upgrade_key_is_no_part_of_the_fingerprints_test() ->
    Parse = fun(Upgrade) ->
        bc_gitops_parser:parse_app_config(#{name => a, version => <<"1">>, upgrade => Upgrade})
    end,
    {ok, Hot} = Parse(#{strategy => hot}),
    {ok, Restart} = Parse([{strategy, <<"restart">>}, {force, false}]),
    ?assertEqual(#{strategy => hot, force => false}, Hot#app_spec.upgrade),
    ?assertEqual(#{strategy => restart, force => false}, Restart#app_spec.upgrade),
    ?assertEqual(bc_gitops_native:spec_fingerprint(Hot), bc_gitops_native:spec_fingerprint(Restart)),
    ?assertEqual({error, {invalid_value, strategy, atom, warm}}, Parse(#{strategy => warm})),
    ?assertEqual({error, {invalid_type, force, boolean, 1}}, Parse(#{force => 1})),
    ?assertEqual({error, {invalid_type, upgrade, map, hot}}, Parse(hot)).

%% Files and directories

all_problems_of_a_file_are_said_with_their_places_test() ->
    with_file("app.yaml", "name: a\nversion: 1.10\nisolation: embeded\n", fun(File) ->
        {error, {invalid_spec, [Version, Isolation]} = Reason} = bc_gitops_parser:parse_app_config_file(File),
        ?assertMatch(#{line := 2, column := 10, path := <<"version">>, kind := invalid_type, file := File}, Version),
        ?assertMatch(#{line := 3, column := 12, path := <<"isolation">>, hint := <<"did you mean embedded?">>}, Isolation),
        Text = unicode:characters_to_binary(bc_gitops_parser:format_error(Reason)),
        ?assertMatch([_, _], binary:split(Text, <<"\n">>)),
        ?assertMatch({_, _}, binary:match(Text, [<<File/binary, ":2:10: version: found the float 1.10">>]))
    end).

files_take_names_of_all_kinds_test() ->
    with_file("app.config", "#{name => a, version => <<\"1\">>}.", fun(File) ->
        {ok, Spec} = bc_gitops_parser:parse_app_config_file(File),
        ?assertEqual({ok, Spec}, bc_gitops_parser:parse_app_config_file(binary_to_list(File))),
        ?assertEqual({ok, #{a => Spec}}, bc_gitops_parser:parse_apps_dir(filename:dirname(filename:dirname(File))))
    end).

%% Directories are read by the core's own reader of terms, which leaves what is rare to the VM's.
every_term_of_an_environment_is_the_one_that_consult_reads_test_() ->
    Texts = [
        "1", "-1", "255", "256", "-2147483648", "2147483648", "-99999999999999999999", "1.5", "-0.0",
        "[]", "\"text\"", "\"\\x{400}\"", "[1, 2]", "[1 | 2]", "[a, [b, [c]]]", "{}", "{a, {b}}", "#{}",
        "#{a => #{1 => [<<>>]}, 2 => b}", "<<\"binary\">>", "<<5:3>>", "'an atom'", "'\\x{e9}'", "''", "undefined",
        ["<<0:", integer_to_list(8 * 300), ">>"], ["{", lists:join(",", lists:duplicate(300, "x")), "}"],
        [lists:duplicate(150, $[), lists:duplicate(150, $])],
        ["#{", lists:join(",", [io_lib:format("k~b => ~b", [N, N]) || N <- lists:seq(1, 100)]), "}"]
    ],
    [fun() ->
         with_file("app.config", ["#{name => a, version => \"1\", env => #{value => ", Text, ", last => 1}}."], fun(File) ->
             {ok, [#{env := Env}]} = file:consult(File),
             {ok, #{a := Spec}} = bc_gitops_parser:parse_apps_dir(filename:dirname(filename:dirname(File))),
             ?assert(Env =:= Spec#app_spec.env),
             ?assertEqual({ok, Spec}, bc_gitops_parser:parse_app_config_file(File))
         end)
     end || Text <- Texts].

%% The shapes that 0.7 documented for its users, in each format.
specs_of_0_7_are_the_records_their_users_expect_test_() ->
    Web = #app_spec{
        name = web, version = <<"1.0.0">>, source = #source_spec{type = hex, ref = <<"1.0.0">>},
        icon = #icon_spec{type = identicon, value = bc_gitops_identicon:to_data_uri(web), mime_type = <<"image/svg+xml">>},
        env = #{port => 8080, pool_size => 10}, depends_on = [],
        health = #health_spec{type = http, port = 8080, path = <<"/health">>, interval = 30000, timeout = 5000}
    },
    Isolated = Web#app_spec{health = undefined, isolation = vm, vm_config = #vm_config{memory_limit = 512, scheduler_limit = 2, extra_args = []}},
    Mesh = <<"mcid1-manifest-blake3-5d41402abc4b2a76b9719d911017c592">>,
    [{Name, ?_assertEqual({ok, Spec}, with_file(Name, Text, fun bc_gitops_parser:parse_app_config_file/1))} || {Name, Spec, Text} <- [
        {"app.config", Web, "#{name => web, version => <<\"1.0.0\">>,\n  source => #{type => hex}, %% or git\n  env => #{port => 8080, pool_size => 10},\n"
            "  health => #{type => http, port => 8080, path => <<\"/health\">>, interval => 30000, timeout => 5000},\n  depends_on => []}.\n"},
        {"app.yaml", Web, "name: web\nversion: \"1.0.0\"\n\nsource:\n  type: hex\n  # type: git\nenv:\n  port: 8080\n  pool_size: 10\n"
            "health:\n  type: http\n  port: 8080\n  path: /health\n  interval: 30000\n  timeout: 5000\ndepends_on: []\n"},
        {"app.json", Web, "{\"name\": \"web\", \"version\": \"1.0.0\", \"source\": {\"type\": \"hex\"}, \"env\": {\"port\": 8080, \"pool_size\": 10},"
            " \"health\": {\"type\": \"http\", \"port\": 8080, \"path\": \"/health\"}, \"depends_on\": []}"},
        {"config", Isolated, "[{name, web}, {version, <<\"1.0.0\">>}, {source, [{type, hex}]}, {isolation, vm},\n"
            " {vm_config, #{memory_limit => 512, scheduler_limit => 2}}, {env, [{port, 8080}, {pool_size, 10}]}]."},
        {"config.yml", Isolated#app_spec{source = #source_spec{type = mesh, mcid = Mesh}},
            ["name: web\nversion: 1.0.0\nisolation: vm\nvm_config: {memory_limit: 512, scheduler_limit: 2}\n"
             "env: {port: 8080, pool_size: 10}\nsource: {type: mesh, mcid: ", Mesh, "}\n"]}
    ]].

missing_files_are_errors_test() ->
    ?assertMatch({error, {invalid_spec, [#{kind := unreadable}]}}, bc_gitops_parser:parse_app_config_file("/nonexistent/app.config")),
    ?assertMatch({error, {not_found, #{path := <<"/nonexistent">>, message := <<"/nonexistent cannot be read: ", _/binary>>}}},
                 bc_gitops_parser:parse_apps_dir("/nonexistent")).

a_bad_file_refuses_the_directory_and_names_all_test() ->
    bct_dir:with("parser", fun(Dir) ->
        [write(Dir, Path, Text) || {Path, Text} <- [
            {"good/app.config", "#{name => good, version => <<\"1\">>}."}, {"bad/app.yaml", "name: [\n"},
            {"one/app.json", "{\"name\": \"same\", \"version\": \"1\"}"}, {"two/app.config", "[{name, same}, {version, \"1\"}]."}
        ]],
        {error, {invalid_specs, Errors}} = bc_gitops_parser:parse_apps_dir(Dir),
        ?assertEqual([{<<"bad">>, syntax}, {<<"one">>, duplicate_name}, {<<"two">>, duplicate_name}],
            [{Name, Kind} || #{dir := Name, problems := [#{kind := Kind}]} <- Errors])
    end).

terms_pass_from_file_to_record_test() ->
    Env = #{int => 1 bsl 80, float => -1.5, 'Quoted Atom' => "chars", bin => <<0, 255>>, bits => <<5:3>>, t => {}, l => [a | b],
            m => #{{1, 2} => [], 1.0 => x}, utf => <<"日本"/utf8>>, '日本' => [16#65E5]},
    Text = io_lib:format("~tp.", [#{name => a, version => <<"1">>, env => Env}]),
    with_file("app.config", Text, fun(File) ->
        {ok, #app_spec{env = Read}} = bc_gitops_parser:parse_app_config_file(File),
        ?assertEqual(Env, Read)
    end).

%% Atoms

atoms_of_a_hostile_file_stay_within_the_quota_test_() ->
    {timeout, 60, [fun() ->
        Key = fun(N) -> ["bct_hostile_", integer_to_list(erlang:unique_integer([positive])), $_, integer_to_list(N)] end,
        [with_file(Name, Text(lists:map(Key, lists:seq(1, Count))), fun(File) ->
            Before = erlang:system_info(atom_count),
            {error, {invalid_spec, Problems}} = bc_gitops_parser:parse_app_config_file(File),
            ?assertEqual([atom_quota], [Kind || #{kind := Kind} <- Problems]),
            ?assert(erlang:system_info(atom_count) - Before =< 1000)
        end) || {Name, Count, Text} <- [
            {"app.config", 30000, fun(Keys) -> ["#{name => a, version => <<\"1\">>, env => #{", lists:join($,, [[K, "=>1"] || K <- Keys]), "}}."] end},
            {"app.json", 30000, fun(Keys) -> ["{\"name\":\"a\",\"version\":\"1\",\"env\":{", lists:join($,, [[$", K, "\":1"] || K <- Keys]), "}}"] end},
            {"app.yaml", 30000, fun(Keys) -> ["name: a\nversion: '1'\nenv:\n", [["  ", K, ": 1\n"] || K <- Keys]] end}
        ]]
    end]}.

a_hundred_thousand_keys_in_many_files_stay_within_the_room_test_() ->
    {timeout, 60, fun() ->
        bct_dir:with("atoms", fun(Dir) ->
            Unique = integer_to_list(erlang:unique_integer([positive])),
            [begin
                App = "bct_" ++ integer_to_list(N),
                Keys = [["k", Unique, $_, integer_to_list(N * 1000 + K), "=>1"] || K <- lists:seq(1, 900)],
                write(Dir, App ++ "/app.config", ["#{name => ", App, ", version => <<\"1\">>, env => #{", lists:join($,, Keys), "}}."])
             end || N <- lists:seq(1, 112)],
            Before = erlang:system_info(atom_count),
            Room = 5000,
            {error, {invalid_specs, Errors}} = bc_gitops_native:spec_dir(Dir, Room),
            ?assert(length(Errors) > 100),
            ?assert(lists:all(fun(#{problems := [#{kind := Kind}]}) -> Kind =:= atom_quota end, Errors)),
            ?assert(erlang:system_info(atom_count) - Before =< Room)
        end)
    end}.

room_is_what_is_left_test() ->
    Room = bc_gitops_parser:atom_room(),
    ?assert(Room =< 100000),
    ?assert(Room =< erlang:system_info(atom_limit) * 8 div 10).

a_broken_spec_makes_no_atom_test() ->
    Name = "bct_never_" ++ integer_to_list(erlang:unique_integer([positive])),
    with_file("app.config", ["#{name => ", Name, ", env => #{", Name, "_key => 1}}."], fun(File) ->
        {error, _} = bc_gitops_parser:parse_app_config_file(File),
        ?assertError(badarg, list_to_existing_atom(Name)),
        ?assertError(badarg, list_to_existing_atom(Name ++ "_key"))
    end).

%% Hostile names

hostile_names_urls_and_refs_are_refused_test_() ->
    Parse = fun(Config) -> bc_gitops_parser:parse_app_config(maps:merge(#{name => a, version => <<"1">>}, Config)) end,
    Git = fun(Source) -> #{source => maps:merge(#{type => git, url => <<"https://h/x">>}, Source)} end,
    [?_assertMatch({error, {invalid_value, _, _, _}}, Parse(Config)) || Config <-
        [#{name => Name} || Name <- [<<"../../etc">>, <<"a/b">>, <<"a;rm -rf /">>, <<"$(id)">>, <<"a b">>, <<"-a">>, <<"A">>, <<>>, <<"a\n">>, <<"a", 0>>]]
        ++ [#{version => Version} || Version <- [<<"../1">>, <<"1/2">>, <<"1..2">>, <<"-1">>, <<"1 2">>, <<"$(id)">>, <<>>]]
        ++ [Git(#{url => Url}) || Url <- [<<"ext::sh -c id">>, <<"--upload-pack=id">>, <<"-u">>, <<"https://h/x\n">>, <<"https://h/$IFS x">>, <<"ssh://-oProxyCommand=id/x">>, <<"fd::7">>]]
        ++ [Git(#{ref => Ref}) || Ref <- [<<"--upload-pack=id">>, <<"-b">>, <<"a..b">>, <<"a b">>, <<"a\nb">>, <<"$(id) x">>, <<"a~1">>, <<"a:b">>]]
        ++ [#{depends_on => [<<"../x">>]}, #{health => #{type => custom, module => <<"a/b">>}}]
    ].

%% Helpers

with_file(Name, Text, Fun) ->
    bct_dir:with("parser", fun(Dir) -> Fun(write(Dir, "app/" ++ Name, Text)) end).

write(Dir, Path, Text) ->
    File = filename:join(Dir, Path),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, unicode:characters_to_binary(Text)),
    File.
