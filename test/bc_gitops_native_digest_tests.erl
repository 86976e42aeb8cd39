%%% Digests of files and bytes, against crypto.
-module(bc_gitops_native_digest_tests).
-include_lib("eunit/include/eunit.hrl").

bytes_agree_with_crypto_test() ->
    [?assertEqual(crypto:hash(sha256, B), bc_gitops_native:digest_bytes(sha256, B))
     || N <- [0, 1, 55, 56, 64, 1000, 1 bsl 20], B <- [binary:copy(<<"a">>, N)]].

iodata_is_taken_test() ->
    ?assertEqual(crypto:hash(sha256, <<"abcd">>),
                 bc_gitops_native:digest_bytes(sha256, ["a", [<<"bc">>], $d])),
    ?assertError(badarg, bc_gitops_native:digest_bytes(sha256, atom)),
    ?assertError(badarg, bc_gitops_native:digest_bytes(md4, <<>>)).

files_agree_with_crypto_test() ->
    bct_dir:with("digest", fun(Dir) ->
        Path = filename:join(Dir, <<"file">>),
        Bytes = rand:bytes(3000000),
        ok = file:write_file(Path, Bytes),
        ?assertEqual({ok, crypto:hash(sha256, Bytes)}, bc_gitops_native:digest_file(sha256, Path)),
        ?assertEqual({ok, bc_gitops_native:digest_bytes(blake3, Bytes)},
                     bc_gitops_native:digest_file(blake3, Path))
    end).

%% The first 32 bytes of BLAKE3's own vector for the empty input.
blake3_of_nothing_test() ->
    ?assertEqual(<<16#af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262:256>>,
                 bc_gitops_native:digest_bytes(blake3, <<>>)).

what_has_no_end_is_refused_test() ->
    ?assertMatch({error, {not_a_file, #{path := <<"/dev/zero">>, message := _}}},
                 bc_gitops_native:digest_file(sha256, <<"/dev/zero">>)),
    ?assertMatch({error, {not_found, _}}, bc_gitops_native:digest_file(blake3, <<"/no/such">>)).
