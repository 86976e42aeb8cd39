-module(bc_gitops_store_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

-define(REVISION, <<"0123456789abcdef0123456789abcdef01234567">>).

build(Workspace, Version) ->
    Key = bc_gitops_store:key(demo, ?REVISION, <<"tools ", Version/binary>>),
    Path = filename:join(bc_gitops_store:path(Workspace, Key), <<"lib/demo">>),
    Lib = #{name => demo, version => Version, path => Path,
        modules => #{lists => crypto:hash(md5, Version)},
            consolidated => filename:join(Path, <<"consolidated">>)},
    #{key => Key, app => demo, version => Version, revision => ?REVISION, tool => rebar3,
      toolchain => <<"tools with ü"/utf8>>, otp => <<"25">>, path => Path, libs => [Lib],
          needs => []}.

publish(Dir, Workspace, #{key := Key} = Build) ->
    Tree = filename:join(Dir, "tree"),
    ok = filelib:ensure_path(filename:join(Tree, "lib/demo/ebin")),
    ok = file:write_file(filename:join(Tree, "lib/demo/ebin/demo.app"), "app"),
    {ok, Stored} = bc_gitops_store:publish(Workspace, Tree, Key, Build),
    ?assertEqual(Build, maps:with(maps:keys(Build), Stored)),
    ?assertNot(filelib:is_dir(Tree)),
    Stored.

what_is_published_is_found_test() ->
    bct_dir:with("store", fun(Dir) ->
        Workspace = filename:join(Dir, <<"work ü"/utf8>>),
        #{key := Key} = Build = build(Workspace, <<"1.0.0">>),
        ?assertEqual({error, not_found}, bc_gitops_store:lookup(Workspace, Key)),
        Stored = publish(Dir, Workspace, Build),
        ?assertMatch(#{size := 3, files := <<_:32/binary>>, arch := _, options := _}, Stored),
        Other = publish(Dir, Workspace, build(Workspace, <<"2.0.0">>)),
        ?assertEqual({ok, Stored}, bc_gitops_store:lookup(Workspace, Key)),
        ?assertEqual(lists:sort([Stored, Other]),
            lists:sort(bc_gitops_store:find(Workspace, demo, ?REVISION))),
        ?assertEqual([], bc_gitops_store:find(Workspace, dem, ?REVISION)),
        ?assertEqual(2, length(bc_gitops_store:keys(Workspace, demo))),
        %% a workspace that was moved is the same
        Moved = filename:join(Dir, "moved"),
        ok = file:rename(Workspace, Moved),
        {ok, #{path := Path}} = bc_gitops_store:lookup(Moved, Key),
        ?assertEqual(filename:join([Moved, "store", Key, "lib/demo"]), Path),
        ok = bc_gitops_store:delete(Moved, Key, filename:join(Dir, "trash")),
        ?assertEqual({error, not_found}, bc_gitops_store:lookup(Moved, Key)),
        ok = bc_gitops_store:delete(Moved, Key, filename:join(Dir, "trash"))
    end).

who_was_faster_stays_and_what_is_damaged_makes_room_test() ->
    bct_dir:with("store", fun(Workspace) ->
        Build = #{key := Key} = build(Workspace, <<"1.0.0">>),
        First = publish(Workspace, Workspace, Build#{tool := mix}),
        Tree = filename:join(Workspace, "other"),
        Again = fun() ->
            ok = filelib:ensure_path(filename:join(Tree, "lib")),
            ok = file:write_file(filename:join(Tree, "lib/new"), "new"),
            bc_gitops_store:publish(Workspace, Tree, Key, Build)
        end,
        ?assertEqual({ok, First}, Again()),
        Dir = bc_gitops_store:path(Workspace, Key),
        ok = bct_build:damage(filename:join(Dir, "lib/demo/ebin/demo.app"), "APP"),
        ?assertMatch({ok, #{tool := rebar3}}, Again()),
        ?assertEqual({ok, <<"new">>}, file:read_file(filename:join(Dir, "lib/new")))
    end).

what_cannot_be_stored_is_an_error_test() ->
    bct_dir:with("store", fun(Dir) ->
        Build = #{key := Key} = build(Dir, <<"1.0.0">>),
        ?assertMatch({error, {not_found, #{path := _, message := _}}},
                     bc_gitops_store:publish(Dir, filename:join(Dir, "nothing"), Key, Build)),
        ok = filelib:ensure_path(filename:join(Dir, "tree/lib")),
        ok = file:make_symlink("/etc/passwd", filename:join(Dir, "tree/lib/link")),
        ?assertMatch({error, {special_file, _}},
                     bc_gitops_store:publish(Dir, filename:join(Dir, "tree"), Key, Build)),
        ?assertEqual([], bc_gitops_store:keys(Dir))
    end).

keys_stay_in_the_store_test() ->
    bct_dir:with("store", fun(Dir) ->
        ok = file:write_file(filename:join(Dir, "manifest"),
            "#{format => 1, build => #{key => <<\"..\">>}}."),
        [?assertEqual({error, not_found}, bc_gitops_store:lookup(Dir, Key))
         || Key <- [<<"..">>, <<"../x">>, <<"/etc">>, <<>>, <<"a/b">>, <<"a\n">>]]
    end).

a_manifest_that_is_not_whole_is_none_test() ->
    bct_dir:with("store", fun(Dir) ->
        #{key := Key} = publish(Dir, Dir, build(Dir, <<"1.0.0">>)),
        Manifest = filename:join(bc_gitops_store:path(Dir, Key), "manifest"),
        {ok, Bytes} = file:read_file(Manifest),
        Size = byte_size(Bytes),
        <<Head:100/binary, Byte, Rest/binary>> = Bytes,
        [begin
            ok = bct_build:damage(Manifest, Content),
            ?assertEqual({error, not_found}, bc_gitops_store:lookup(Dir, Key))
         end || Content <- [<<>>, binary:part(Bytes, 0, Size - 1), <<Head/binary, (Byte bxor 1), Rest/binary>>,
                            <<Bytes/binary, 0>>, "% no term", "%\n#{format => 1}.", "%\n#{format => 3}.", none]]
    end).

keys_differ_by_what_was_built_and_with_what_test() ->
    Key = fun(Name, Revision, Tools) -> bc_gitops_store:key(Name, Revision, Tools) end,
    Other = <<"0123456789abcdef0123456789abcdef01234568">>,
    Before = Key(a, ?REVISION, <<"x">>),
    Keys = [Before, Key(b, ?REVISION, <<"x">>), Key(a, Other, <<"x">>), Key(a, ?REVISION, <<"y">>)],
    ?assertEqual(4, length(lists:usort(Keys))),
    ?assertEqual(Before, Key(a, ?REVISION, <<"x">>)),
    %% what builds get to see is one of their options
    ok = application:set_env(bc_gitops, build_env, ["CFLAGS"]),
    try ?assertNotEqual(Before, Key(a, ?REVISION, <<"x">>))
    after application:unset_env(bc_gitops, build_env)
    end,
    ?assertMatch(<<"a-short-", _:16/binary>>, Key(a, <<"short">>, <<"x">>)).

sources_are_told_apart_without_their_passwords_test() ->
    Id = fun bc_gitops_store:source_id/1,
    Source = #source_spec{type = git, url = <<"https://example.org/a.git">>, ref = <<"v1">>},
    With = Source#source_spec{url = <<"https://me:secret@example.org/a.git">>},
    ?assertEqual(Id(Source), Id(With)),
    Others = [Source, Source#source_spec{ref = <<"v2">>}, Source#source_spec{url = <<"https://example.org/b">>},
              Source#source_spec{type = hex}],
    ?assertEqual(4, length(lists:usort([Id(Other) || Other <- Others]))).

what_a_source_gave_is_found_newest_first_test() ->
    bct_dir:with("store", fun(Dir) ->
        Source = #source_spec{type = git, url = <<"https://example.org/a.git">>, ref = <<"main">>},
        Id = bc_gitops_store:source_id(Source),
        Stored = [publish(Dir, Dir, (build(Dir, Version))#{source => Id}) || Version <- [<<"1">>, <<"2">>]],
        _ = publish(Dir, Dir, build(Dir, <<"3">>)),
        [ok = file:change_time(filename:join(bc_gitops_store:path(Dir, Key), "manifest"), {{2020, 1, 1}, {0, 0, N}})
         || {N, #{key := Key}} <- lists:zip([2, 1], Stored)],
        ?assertEqual(Stored, bc_gitops_store:built_from(Dir, demo, Source)),
        #{key := Last} = lists:last(Stored),
        ok = bc_gitops_store:touch(Dir, Last),
        ?assertEqual(lists:reverse(Stored), bc_gitops_store:built_from(Dir, demo, Source)),
        ?assertEqual([], bc_gitops_store:built_from(Dir, demo, Source#source_spec{ref = <<"v1">>}))
    end).
