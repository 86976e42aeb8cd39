-module(bc_gitops_failure_tests).
-include_lib("eunit/include/eunit.hrl").

before_the_switch_the_kind_decides_test_() ->
    Retry = [{unreachable, #{}}, {timeout, #{}}, {auth_failed, #{}}, {io, #{}}, econnrefused, {unheard_of, 1}],
    Lasting = [{build_failed, #{}}, {version_mismatch, #{}}, {not_supported_yet, #{}}, {bad_ref, #{}}],
    [?_assertEqual(retry, bc_gitops_failure:class(prepare, Reason, 1)) || Reason <- Retry] ++
        [?_assertEqual(quarantine, bc_gitops_failure:class(prepare, Reason, 1)) || Reason <- Lasting].

after_the_switch_began_every_failure_is_quarantined_test() ->
    ?assertEqual(quarantine, bc_gitops_failure:class(switch, {timeout, #{}}, 1)).

what_ran_well_before_is_tried_again_test() ->
    ?assertEqual(retry, bc_gitops_failure:class(restore, {start_failed, #{}}, 1)),
    ?assertEqual(retry, bc_gitops_failure:class(remove, {stop_failed, #{}}, 1)).

backoff_doubles_within_its_limits_and_moves_by_a_fifth_test() ->
    Waits = fun(Attempt) -> [bc_gitops_failure:backoff(Attempt, 100, 1000) || _ <- lists:seq(1, 200)] end,
    Within = fun(Attempt, Low, High) ->
        All = Waits(Attempt),
        ?assert(lists:min(All) >= Low),
        ?assert(lists:max(All) =< High),
        ?assert(length(lists:usort(All)) > 3)
    end,
    Within(1, 81, 100),
    Within(2, 161, 200),
    Within(3, 321, 400),
    Within(30, 801, 1000).

every_reason_is_said_in_bounded_words_test_() ->
    Huge = lists:duplicate(100000, {secret, <<"x">>}),
    Reasons = [
        {dependency_failed, db}, {blocked, {cycle, [a, b]}}, {blocked, {missing_dependency, [c]}},
        {blocked, {self_dependency}}, {blocked, {blocked_dependency, a}},
        {blocked, {duplicate, [<<"x">>, <<"y">>]}}, {vm_died_in_start, 2}, {weird, Huge},
        {rolled_back, #{running => <<"1">>, reason => {start_failed, #{}}, gap_ms => 12}},
        {rollback_failed, #{reason => a, rollback_reason => b}},
        {unreachable, #{message => <<"no route"/utf8>>}}, "text", <<"binary">>, 17
    ],
    [
        ?_assert(byte_size(bc_gitops_failure:describe(Reason)) < 2000)
     || Reason <- Reasons
    ].

%% What the runtime says before it has stopped anything: {Reason, class of the first try, of the second,
%% what the sentence must name}.
reasons_of_the_runtime() ->
    [
        {{controller_blocked, #{app => a, timeout => 5000}}, retry, retry, ["a ", "5000", "tried again"]},
        {{cancelled, #{app => a}}, retry, retry, ["a ", "tried again"]},
        {{busy, #{runtime => my_runtime, callback => deploy}}, retry, retry, ["my_runtime", "deploy", "tried again"]},
        {{build_damaged, #{module => m, file => <<"/s/m.beam">>, reason => enoent}}, retry, quarantine,
            ["/s/m.beam", "built anew", "disk"]},
        {{build_damaged, #{app => a}}, retry, quarantine, ["a ", "built anew"]},
        {{code_refused, #{modules => [{m, badfile}]}}, quarantine, quarantine, ["m badfile", "change"]},
        {{host_application, #{app => a, wanted => <<"2">>, found => <<"1">>, path => <<"/h/a">>}},
            quarantine, quarantine, ["a 1", "/h/a", "wants 2", "host's release"]},
        {{otp_mismatch, #{tools => <<"27">>, running => <<"25">>}}, quarantine, quarantine, ["OTP 27", "OTP 25", "PATH"]},
        {{missing_applications, [cowboy, ranch]}, retry, retry, ["cowboy, ranch", "add them"]},
        {{protected_application, #{app => crypto, reason => otp, wanted => <<"1">>}}, quarantine, quarantine,
            ["crypto is part of OTP", "another name"]},
        {{protected_application, #{app => a, reason => started_by_host, wanted => <<"1">>}}, quarantine, quarantine,
            ["started by the host"]},
        {{dependency_conflict, #{app => a, dependency => d, wanted => <<"2">>, present => <<"1">>, path => <<"/p">>,
                                 used_by => [b]}}, retry, retry, ["a brings d 2", "used by b", "isolation vm"]},
        {{dependency_conflict, #{app => a, dependency => d, wanted => <<"2">>, present => <<"1">>, path => <<"/p">>,
                                 used_by => host}}, quarantine, quarantine, ["a brings d 2", "the host's"]},
        {{module_conflict, #{app => a, modules => [{m, "/usr/lib/x"}]}}, retry, retry,
            ["a ", "m in /usr/lib/x", "rename"]},
        {{version_mismatch, #{spec => <<"1">>, app => <<"2">>}}, quarantine, quarantine, ["1", "2", "the same"]}
    ].

what_the_runtime_refuses_is_sorted_test_() ->
    [
        ?_assertEqual({First, Second}, {bc_gitops_failure:class(Phase, Reason, 1), bc_gitops_failure:class(Phase, Reason, 2)})
     || {Reason, First, Second, _} <- reasons_of_the_runtime(), Phase <- [prepare, start, switch]
    ].

what_the_runtime_refuses_is_one_sentence_test_() ->
    [
        {lists:flatten(io_lib:format("~0tp", [Reason])), fun() ->
            Said = bc_gitops_failure:describe(Reason),
            ?assertEqual(Said, bc_gitops:format_error(Reason)),
            ?assertEqual([], [Part || Part <- Parts, string:find(Said, Part) =:= nomatch]),
            ?assertEqual([nomatch, nomatch], [string:find(Said, Mark) || Mark <- ["#{", "\n"]])
        end}
     || {Reason, _, _, Parts} <- reasons_of_the_runtime()
    ].

what_does_not_start_is_one_sentence_test() ->
    Failed = {start_failed, #{app => a, reason => {bad_return, {a_app, no}}}},
    Hung = {start_timeout, #{app => a, timeout => 60000}},
    [?assertEqual([], [Part || Part <- Parts, string:find(Said, Part) =:= nomatch])
     || {Reason, Parts} <- [{Failed, ["a does not start", "a_app", "push"]}, {Hung, ["a did not", "60000 ms"]}],
        Said <- [bc_gitops_failure:describe({rolled_back, #{reason => Reason}})]].

which_app_and_which_commit_test() ->
    Failure = #{app => a, action => upgrade, reason => {start_timeout, #{app => a, timeout => 1}},
                commit => <<"0123456789abcdef0123456789abcdef01234567">>},
    Said = bc_gitops:format_error({actions_failed, [Failure, Failure#{commit := undefined}]}),
    ?assertMatch([<<"upgrade of a (commit 0123456): ", _/binary>>, <<"upgrade of a: ", _/binary>>],
                 string:split(Said, "\n", all)).

%% A user's runtime module may use these names for shapes of its own.
other_shapes_are_said_as_well_test_() ->
    Shapes = [
        {controller_blocked, 1}, {missing_applications, x}, {missing_applications, [{a, b}, 1]}, {busy, #{}},
        {code_refused, #{modules => x}}, {module_conflict, #{app => <<255>>, modules => [m, {a, b, c}]}},
        {cancelled, #{app => [1, -1]}}, {dependency_conflict, #{app => 1, dependency => 2, wanted => {}, present => #{}}}
    ],
    [?_assert(is_binary(bc_gitops_failure:describe(Shape))) || Shape <- Shapes].
