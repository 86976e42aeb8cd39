%%% @doc Every failure that an operator can see is a sentence.
-module(bc_gitops_words_tests).
-include_lib("eunit/include/eunit.hrl").

%% Only matched: answers of the application controller, of a command, of the native library.
-define(INSIDE, [not_loaded, exit_status, package_not_found]).

%% A kind that somebody makes and that has no sentence here fails this.
every_kind_in_the_code_has_a_sentence_test() ->
    Kinds = lists:usort(lists:append([kinds(Beam) || Beam <- beams()])),
    ?assert(length(Kinds) > 50),
    Said = [element(1, Reason) || Reason <- samples()],
    ?assertEqual([], (Kinds -- Said) -- ?INSIDE).

%% The same question finds an error that nobody has put into words.
a_kind_without_a_sentence_is_found_test() ->
    {ok, Tokens, _} = erl_scan:string("f(X) -> {error, {never_heard_of, #{x => X}}}."),
    {ok, Form} = erl_parse:parse_form(Tokens),
    ?assertEqual([never_heard_of], made(Form, [])),
    {ok, Update, _} = erl_scan:string("f(X) -> R = {unheard_of, X#{x => 1}}, {error, R}."),
    {ok, Other} = erl_parse:parse_form(Update),
    ?assertEqual([unheard_of], made(Other, [])),
    {ok, Worded, _} = erl_scan:string("f(X) -> {error, {worded, #{message => X}}}."),
    {ok, Good} = erl_parse:parse_form(Worded),
    ?assertEqual([], made(Good, [])).

each_is_a_sentence_without_terms_test_() ->
    [{lists:flatten(io_lib:format("~0tP", [Reason, 12])), fun() ->
        Said = bc_gitops:format_error(Reason),
        ?assertNotEqual(unicode:characters_to_binary(bc_gitops_words:reason(Reason)), Said),
        is_sentence(Said)
    end}
     || Reason <- samples()].

is_sentence(Said) ->
    ?assert(is_binary(Said)),
    ?assert(byte_size(Said) < 2000),
    ?assertEqual([], [Mark || Mark <- ["{", "}", "<<", "\n", "=>"], string:find(Said, Mark) =/= nomatch]),
    ?assert(length(string:lexemes(Said, " ")) > 4).

%% Reasons as OTP gives them.
reasons_of_otp_are_read_out_test_() ->
    Stack = [{a_srv, init, 1, [{file, "a_srv.erl"}, {line, 7}]}, {gen_server, init_it, 2, []}],
    Child = {{shutdown, {failed_to_start_child, a_srv, {{badmatch, {error, enoent}}, Stack}}}, {a_app, start, [normal, []]}},
    Expected = [
        {Child, "its child a_srv did not start: badmatch: (error: enoent) in a_srv:init/1 in a_app:start/2"},
        {{bad_return, {{a_app, start, [normal, []]}, {'EXIT', {undef, Stack}}}},
         "a_app:start/2 crashed: undef in a_srv:init/1"},
        {{bad_return, {{a_app, start, [normal, []]}, ok}}, "a_app:start/2 answered ok"},
        {{not_started, cowboy}, "cowboy is not started"},
        {{"no such file or directory", "a.app"}, "no such file or directory, a.app"},
        {{error, badarg, Stack}, "badarg in a_srv:init/1"},
        {#{port => 80, why => {in, use}}, "port = 80, why = (in: use)"},
        {killed, "killed"}, {[a | b], "a and b"}, {<<0, 255>>, "2 bytes"}, {{}, "an empty tuple"}, {[], "an empty list"}
    ],
    [?_assertEqual(Text, unicode:characters_to_list(bc_gitops_words:reason(Reason))) || {Reason, Text} <- Expected].

terms_are_bounded_test() ->
    Deep = lists:foldl(fun(N, Term) -> {level, N, Term} end, bottom, lists:seq(1, 1000)),
    [?assert(string:length(bc_gitops_words:reason(Term)) < 500)
     || Term <- [Deep, lists:duplicate(100000, {a, b}), binary:copy(<<"x">>, 100000), lists:seq(1, 100000)]].

a_cycle_is_read_from_end_to_end_test() ->
    Said = fun(Names) -> bc_gitops:format_error({blocked, {cycle, Names}}) end,
    ?assertNotEqual(nomatch, string:find(Said([a, b]), "a -> b -> a;")),
    Long = Said([list_to_atom([C]) || C <- lists:seq($a, $t)]),
    ?assertNotEqual(nomatch, string:find(Long, "a -> b -> c -> d -> e -> f -> g -> h -> ... -> a;")).

%% Each line begins with its place.
specs_are_said_with_their_places_test() ->
    Problem = fun(Line) ->
        #{file => <<"apps/a/app.yaml">>, line => Line, column => 3,
          message => iolist_to_binary(["apps/a/app.yaml:", integer_to_list(Line), ":3: name: is missing"])}
    end,
    Error = #{dir => <<"a">>, file => <<"apps/a/app.yaml">>, name => undefined, problems => [Problem(1), Problem(2)]},
    Lines = <<"apps/a/app.yaml:1:3: name: is missing\napps/a/app.yaml:2:3: name: is missing">>,
    ?assertEqual(Lines, bc_gitops:format_error({spec_errors, [Error]})),
    ?assertEqual(Lines, bc_gitops:format_error({invalid_specs, [Error]})),
    ?assertEqual(Lines, bc_gitops:format_error({invalid_spec, [Problem(1), Problem(2)]})),
    Failure = #{app => undefined, action => parse, commit => <<"0123456789">>, reason => {spec_errors, [Error]}},
    ?assertEqual(<<"parse (commit 0123456): ", Lines/binary>>, bc_gitops:format_error({actions_failed, [Failure]})).

%%% Which kinds the code makes

beams() ->
    filelib:wildcard(filename:join(filename:dirname(code:which(bc_gitops)), "bc_gitops*.beam")).

kinds(Beam) ->
    {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(Beam, [abstract_code]),
    made(Forms, []).

%% `{error, {Kind, _}}', and `{Kind, #{... => ...}}', which is an expression and not a pattern; neither
%% when a sentence stands beside it.
made({tuple, _, [{atom, _, error}, {tuple, _, [{atom, _, _Kind}, {var, _, '_'}]}]}, Kinds) ->
    Kinds;
made({tuple, _, [{atom, _, error}, {tuple, _, [{atom, _, Kind}, Details]}]}, Kinds) ->
    Keys = keys(Details, map_field_assoc) ++ keys(Details, map_field_exact),
    made(Details, [Kind || not lists:member(message, Keys)] ++ Kinds);
made({tuple, _, [{atom, _, Kind}, Map]}, Kinds) when Kind =/= ok, element(1, Map) =:= map ->
    Keys = keys(Map, map_field_assoc),
    made(Map, [Kind || Keys =/= [], not lists:member(message, Keys)] ++ Kinds);
made(Tuple, Kinds) when is_tuple(Tuple) ->
    made(tuple_to_list(Tuple), Kinds);
made([Head | Tail], Kinds) ->
    made(Tail, made(Head, Kinds));
made(_Other, Kinds) ->
    Kinds.

keys(Map, Field) when element(1, Map) =:= map ->
    [Key || {F, _, {atom, _, Key}, _} <- lists:last(tuple_to_list(Map)), F =:= Field];
keys(_Other, _Field) ->
    [].

%%% A reason of each kind, as it is made

samples() ->
    of_the_runtime() ++ of_hot_upgrades() ++ of_calls() ++ of_builds() ++ of_the_reconciler() ++ of_the_api().

of_the_runtime() ->
    Stack = [{m, f, [1], [{file, "m.erl"}]}],
    [
        {controller_blocked, #{app => a, timeout => 5000}}, {controller_blocked, #{timeout => 5000}},
        {cancelled, #{app => a}},
        {dependency_busy, #{app => a, dependency => d, process => self()}}, {dependency_busy, #{process => self()}},
        {build_damaged, #{module => m, file => <<"/s/m.beam">>, reason => enoent}}, {build_damaged, #{app => a}},
        {build_not_found, #{app => a, key => <<"a-1">>}},
        {bad_app_file, #{app => a, file => <<"/s/a.app">>}}, {bad_app_file, #{app => a, file => <<"/s/a.app">>, reason => {1, erl_parse, ["x"]}}},
        {code_refused, #{modules => [{m, badfile}]}},
        {host_application, #{app => a, wanted => <<"2">>, found => <<"1">>, path => <<"/h/a">>}},
        {protected_application, #{app => crypto, reason => otp, wanted => <<"1">>}},
        {dependency_conflict, #{app => a, dependency => d, wanted => <<"2">>, present => <<"1">>, path => <<"/p">>,
                                used_by => [b], hint => isolation}},
        {missing_applications, [cowboy, ranch]},
        {module_conflict, #{app => a, modules => [{m, "/usr/lib/x"}]}},
        {version_mismatch, #{spec => <<"1">>, app => <<"2">>}},
        {not_supported_yet, #{what => isolation_vm, app => a}}, {not_deployed, #{app => a}},
        {start_failed, #{app => a, reason => {bad_return, {{a_app, start, [normal, []]}, {'EXIT', {badarg, Stack}}}}}},
        {start_timeout, #{app => a, timeout => 60000}},
        {dependency_not_started, #{app => a, dependency => d, reason => {d, {not_started, e}}}},
        {dependency_not_started, #{app => a, dependency => d, kind => timeout, timeout => 5000}},
        {load_failed, #{modules => [{m, on_load_failure}, {n, {error, x}}]}}, {load_failed, #{app => a, reason => {bad_application, x}}},
        {unload_failed, #{app => a, reason => {running, a}}},
        {code_in_use, #{app => a, modules => [m], processes => [{self(), [{registered_name, logger}]}, {self(), gone}]}},
        {code_left, #{app => a, modules => [m, n]}}, {code_differs, #{modules => [{m, missing}, {n, old_code}]}},
        {bad_path, #{path => <<"/s/a/ebin">>, reason => bad_directory}},
        {env_not_set, #{app => a, kind => controller_blocked, timeout => 5000}},
        {config_change_failed, #{app => a, reason => {error, no}}}, {config_change_failed, #{app => a, kind => timeout, timeout => 1}},
        {protocol_failed, #{protocol => 'Elixir.String.Chars', reason => {not_a_protocol, x}}},
        {protocol_failed, #{kind => crashed, reason => {error, undef, Stack}}},
        {switch_crashed, #{app => a, reason => {{badmatch, {error, x}}, Stack}}},
        {rolled_back, #{running => <<"1">>, reason => {code_left, #{app => a, modules => [m]}}, gap_ms => 12}},
        {rollback_failed, #{reason => {start_timeout, #{app => a, timeout => 1}}, gap_ms => 3,
                            rollback_reason => {build_damaged, #{app => a}}}}
    ].

of_hot_upgrades() ->
    Busy = {self(), #{registered_name => a_srv, current_function => {m, f, 1}, initial_call => {a_srv, init, 1}}},
    Failed = {code_change_failed, #{process => self(), module => a_srv, reason => {'EXIT', {badarg, [{m, f, [1], []}]}}, failed => 1}},
    [
        {hot_upgrade_undone, #{app => a, running => <<"1.0.0">>, reason => Failed}},
        {not_hot, #{modules => [{m, nif}, {n, sticky}, {o, preloaded}, {p, cover_compiled}, {q, on_load}]}},
        {object_not_read, #{file => "/s/m.beam", reason => enoent}}, {object_not_found, #{module => m}},
        {app_not_found, #{app => a}}, {app_not_loaded, #{app => a}},
        {other_version_runs, #{app => a, asked => "1", running => "2"}},
        {version_not_found, #{app => a, version => "2", found => [{"/s/a/ebin", "1"}]}},
        {version_not_found, #{app => a, version => "2", found => []}},
        {old_code_in_use, #{app => a, modules => [m], processes => [Busy, {self(), #{modules => [m]}}]}},
        {supervisors_silent, #{app => a, processes => [self()]}}, {not_suspended, #{processes => [Busy]}},
        {not_resumed, #{processes => [Busy]}}, {sup_flags_changed, #{module => a_sup}},
        {supervisor_init_failed, #{module => a_sup, reason => {invalid_child_spec, x}}}, Failed,
        {code_change_failed, #{process => self(), module => a_srv, reason => timeout, direction => back}},
        {child_not_started, #{child => a_new, process => self(), reason => {undef, [{a_new, start_link, [], []}]}}},
        {child_not_stopped, #{child => {a, 1}, process => self(), reason => timeout}},
        {function_failed, #{app => a, function => {m, f, [1]}, reason => timeout}},
        {upgrade_killed, #{reason => killed}}, {upgrade_killed, #{app => a}},
        {upgrade_crashed, #{reason => {error, badarg, [{m, f, [1], []}]}}},
        {not_undone, #{reason => Failed, problems => [
            {silent, [self()]}, {former_code_not_kept, #{modules => [m]}}, {function_called, #{function => {m, f, [1]}}}]}},
        {former_code_not_kept, #{modules => [m]}}, {function_called, #{function => {m, f, []}}},
        {children_replaced, #{children => [a, {b, 1}]}}, {children_removed, #{children => [a]}},
        {state_not_restored, #{processes => [self()]}}
    ].

of_calls() ->
    Call = #{runtime => my_runtime, callback => deploy},
    Stack = [{m, f, 1, [{file, "m.erl"}]}],
    [
        {busy, Call}, {bad_return, Call#{answer => {good, #{x => y}}}}, {restore_not_supported, #{app => a, runtime => my_runtime}},
        {runtime_failed, Call#{class => error, reason => {badmatch, {error, x}}, stacktrace => Stack}},
        {runtime_killed, Call#{reason => {shutdown, {error, x}}}},
        {crashed, #{app => a, reason => {error, badarg, Stack}}},
        {crashed, #{class => error, kind => badmatch, stacktrace => [{m, f, 1}]}},
        {timeout, Call#{timeout => 5000}}, {timeout, #{app => a, timeout => 5000}}, {timeout, #{module => m, timeout => 5000}},
        {timeout, #{while => switching, action => upgrade}}, {timeout, #{while => cycle}}
    ].

of_builds() ->
    [
        {app_not_built, #{app => a, tool => release, found => []}},
        {app_not_built, #{app => a, tool => release, found => [<<"b">>]}},
        {app_not_built, #{app => a, found => []}}, {app_not_built, #{app => a, found => [<<"b">>]}},
        {bad_name, #{names => [<<"B">>]}}, {modules_missing, #{app => a, modules => [<<"m">>]}},
        {beam_misnamed, #{app => a, files => [<<"m.beam">>]}}, {invalid_beam, #{app => a, kind => not_beam, details => #{}}},
        {invalid_app_file, #{file => <<"a.app">>, message => <<"a.app holds no application of that name; mend it">>}},
        {too_many_modules, #{app => a, limit => 10000}}, {too_many_atoms, #{file => <<"a.app">>}},
        {too_many_files, #{path => <<"/b/a">>, limit => 9}}, {too_large, #{path => <<"/b/a">>, limit => 9}},
        {too_deep, #{path => <<"/b/a">>}}, {link_outside, #{path => <<"/b/a">>, target => <<"/etc">>}},
        {special_file, #{path => <<"/b/pipe">>}}, {otp_mismatch, #{tools => <<"27">>, running => <<"25">>}},
        {tool_version, #{program => <<"rebar3">>, output => <<>>}}, {unwritable, #{path => <<"/b">>, reason => enospc}},
        {unreadable, #{path => <<"/b">>, reason => eacces}},
        {disk_full, #{path => <<"/b">>, free => 0, failed => unwritable,
                      message => <<"the disk of /b is full: 0 bytes of 16 MB are free; make room there">>}},
        {interrupted, #{message => <<"the workspace was restarted while this waited for it">>}},
        {tool_missing, #{message => <<"rebar3 is not on the path; install the package rebar3">>}},
        {unknown_project, #{app => a, message => <<"the repository has no rebar.config or mix.exs">>}},
        {build_failed, #{message => <<"its build failed: rebar3 compile ended with status 1">>, output => <<"{error}">>}},
        {not_found, #{program => <<"git">>}}, {runner, #{message => <<"priv/bc_gitops_runner was not built; build bc_gitops again">>}},
        {empty_repository, #{message => <<"https://h/r: the repository has no commit yet">>}},
        {bad_url, #{message => <<"a git source needs a url">>}},
        {branch_not_found, #{message => <<"the repository has no branch main">>}}
    ].

of_the_reconciler() ->
    Spec = {spec_errors, [#{problems => [#{message => <<"apps/a/app.json:1:2: name: is missing, expected a name">>}]}]},
    [
        {blocked, {cycle, [a, b]}}, {blocked, {missing_dependency, [c]}}, {blocked, {self_dependency}},
        {blocked, {blocked_dependency, a}}, {blocked, {duplicate, [<<"x">>, <<"y">>]}},
        {dependency_failed, db}, {vm_died_in_start, 2}, {worker_died, {killed, []}}, {process_died, badmatch},
        {process_not_started, #{app => a}}, {stopped, <<"killed">>}, {stopped, noproc}, {not_ready, booting},
        {other_repository, #{message => <<"the repository was changed, and the new one lacks what runs: a">>}},
        {locked, #{path => <<"/p">>, holder => #{os_pid => 1, node => n@h, started => <<>>}}},
        {lock_failed, #{path => <<"/p">>, reason => eacces}}, {bad_directory, #{path => <<"/p">>, reason => eacces}},
        {state_not_written, #{file => <<"/p/a">>, reason => enospc}}, {unknown_format, 9},
        {desired_state, {unreachable, #{message => <<"https://h/r: connection refused by the server">>}}},
        {actions_failed, [#{app => a, action => deploy, commit => <<"0123456789">>, reason => {weird, #{x => {y}}}}]},
        Spec, {native_abi, #{message => <<"the native library is another one, restart the VM">>}},
        {native_not_loaded, #{message => <<"the native library x.so is missing: build it again">>}}
    ].

of_the_api() ->
    [
        {called_from_managed_app, a}, {not_started, bc_gitops}, {already_started, self()},
        {bad_config, [#{key => branch, got => 1, expected => <<"a text">>}]},
        {invalid_type, version, binary, {1, 0}}, {invalid_value, ref, binary, <<"-x">>}, {missing_field, version},
        {bad_name, #{name => 'A B'}}, {ref_is_no_version, #{app => a, ref => <<"main">>, version => <<"1">>}}
    ].
