-module(bc_gitops_store_tests).
-include_lib("eunit/include/eunit.hrl").

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
    {ok, Build} = bc_gitops_store:publish(Workspace, Tree, Key, Build),
    ?assertNot(filelib:is_dir(Tree)).

what_is_published_is_found_test() ->
    bct_dir:with("store", fun(Dir) ->
        Workspace = filename:join(Dir, <<"work ü"/utf8>>),
        #{key := Key} = Build = build(Workspace, <<"1.0.0">>),
        ?assertEqual({error, not_found}, bc_gitops_store:lookup(Workspace, Key)),
        publish(Dir, Workspace, Build),
        Other = build(Workspace, <<"2.0.0">>),
        publish(Dir, Workspace, Other),
        ?assertEqual({ok, Build}, bc_gitops_store:lookup(Workspace, Key)),
        ?assertEqual(lists:sort([Build, Other]),
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

keys_stay_in_the_store_test() ->
    bct_dir:with("store", fun(Dir) ->
        ok = file:write_file(filename:join(Dir, "manifest"),
            "#{format => 1, build => #{key => <<\"..\">>}}."),
        [?assertEqual({error, not_found}, bc_gitops_store:lookup(Dir, Key))
         || Key <- [<<"..">>, <<"../x">>, <<"/etc">>, <<>>, <<"a/b">>, <<"a\n">>]]
    end).

keys_differ_by_what_was_built_and_with_what_test() ->
    Key = fun(Name, Revision, Tools) -> bc_gitops_store:key(Name, Revision, Tools) end,
    Other = <<"0123456789abcdef0123456789abcdef01234568">>,
    Keys = [Key(a, ?REVISION, <<"x">>), Key(b, ?REVISION, <<"x">>), Key(a, Other, <<"x">>),
        Key(a, ?REVISION, <<"y">>)],
    ?assertEqual(4, length(lists:usort(Keys))),
    ?assertEqual(Key(a, ?REVISION, <<"x">>), hd(Keys)).
