-module(bc_gitops_job_tests).
-include_lib("eunit/include/eunit.hrl").

%% A job of the library that answers soon: a listing of what is not there.
job() ->
    Ref = make_ref(),
    Request = #{op => list, url => <<"/nowhere/at/all">>, timeout => 5000, auth => #{allow_local => true}},
    {ok, Job} = bc_gitops_native:git_start(Request, self(), Ref),
    receive {bc_gitops_job, Ref, _} -> Job end.

progress_is_told_in_order_and_the_answer_ends_it_test() ->
    Job = job(),
    Self = self(),
    Answer = bc_gitops_job:run(fun(To, Ref) ->
        _ = [To ! {bc_gitops_job_progress, Ref, #{n => N}} || N <- [1, 2]],
        To ! {bc_gitops_job, Ref, {ok, #{done => true}}},
        To ! {bc_gitops_job_progress, Ref, #{n => 3}},
        {ok, Job}
    end, 5000, fun(Progress) -> Self ! Progress end),
    ?assertEqual({ok, #{done => true}}, Answer),
    ?assertEqual([#{n => 1}, #{n => 2}], messages()).

what_cannot_start_is_an_error_test() ->
    Error = {error, {bad_url, #{message => <<"m">>}}},
    ?assertEqual(Error, bc_gitops_job:run(fun(_, _) -> Error end, 5000)).

a_silent_library_is_not_waited_for_test() ->
    Ref = make_ref(),
    self() ! {bc_gitops_job_progress, Ref, #{}},
    ?assertMatch({error, {timeout, #{message := _}}},
                 bc_gitops_job:await(job(), Ref, 10, fun(_) -> ok end)),
    ?assertEqual([], messages()).

%% Those of these tests: whoever ran before may leave exit signals.
messages() ->
    receive #{} = Progress -> [Progress | messages()];
            {bc_gitops_job_progress, _, _} = Late -> [Late | messages()]
    after 0 -> []
    end.
